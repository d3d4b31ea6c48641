package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
	"github.com/gabion-dev/gabion/event"
)

func TestImages(t *testing.T) {
	c, w := adminOf(t, console.Config{})
	list := func(query string) console.ImageList {
		t.Helper()
		return decode[console.ImageList](t, c.want(200, "GET", "/api/v1/images?"+query, nil))
	}
	all := list("")
	if all.Total != 4 || all.Kept != 4 || all.Items[0].Digest != consoletest.Dashboard || len(all.Unscanned) != 1 || len(all.Targets) != 2 {
		t.Fatalf("list: %d of %d, first %s", all.Total, all.Kept, all.Items[0].Digest)
	}
	for query, want := range map[string]int{
		"q=POSTGRES": 1, "q=shop/web": 1, "q=d1d1d1": 1, "q=nothing-like-it": 0, "severity=critical": 1, "severity=high": 2, "severity=medium": 3,
		"kev=true": 1, "running=true": 3, "fixable=true": 2, "state=incomplete": 1, "state=violated": 1, "kev=true&state=incomplete": 0,
	} {
		if got := list(query); got.Total != want || got.Kept != 4 {
			t.Errorf("%s: %d of %d, want %d of 4", query, got.Total, got.Kept, want)
		}
	}
	if got := list("limit=1&offset=1"); len(got.Items) != 1 || got.Total != 4 || got.Items[0].Digest == consoletest.Dashboard {
		t.Errorf("second page: %+v", got.Items)
	}
	c.want(422, "GET", "/api/v1/images?severity=awful", nil)

	one := "/api/v1/images/" + url.PathEscape(consoletest.Dashboard)
	d := decode[console.ImageDetail](t, c.want(200, "GET", one, nil))
	if len(d.Layers) != 4 || len(d.Plan) == 0 || len(d.SecretList) != 1 || d.Secrets != 1 || len(d.Containers) != 1 || d.Database.Data.IsZero() {
		t.Errorf("detail: %+v", d)
	}
	for _, path := range []string{"", "/findings", "/packages", "/sbom", "/report"} {
		if a := c.want(404, "GET", "/api/v1/images/sha256:00"+path, nil); a.problem() != "not-found" {
			t.Errorf("%s of nothing: %s", path, a.problem())
		}
	}
	c.want(422, "GET", "/api/v1/images/no-digest", nil)

	findings := func(query string) console.List[console.ImageFinding] {
		t.Helper()
		return decode[console.List[console.ImageFinding]](t, c.want(200, "GET", one+"/findings?"+query, nil))
	}
	if f := findings("limit=10"); f.Total != 131 || len(f.Items) != 10 || f.Items[0].ID != "CVE-2021-44228" {
		t.Errorf("findings: %d of %d", len(f.Items), f.Total)
	}
	if f := findings("settled=true"); f.Total != 1 || !strings.Contains(f.Items[0].Decision, "Exception") {
		t.Errorf("settled: %+v", f)
	}
	if f := findings("severity=critical"); f.Total != 1 {
		t.Errorf("critical: %d", f.Total)
	}
	if f := findings("fixable=true&q=ghsa-JFH8"); f.Total != 1 {
		t.Errorf("by alias: %d", f.Total)
	}
	if p := decode[console.List[console.ImagePackage]](t, c.want(200, "GET", one+"/packages?q=lib01&limit=3", nil)); p.Total != 10 || len(p.Items) != 3 {
		t.Errorf("packages: %d of %d", len(p.Items), p.Total)
	}
	for path, want := range map[string]string{"/sbom?format=spdx": "spdx", "/sbom": "cyclonedx", "/report?format=html": "html", "/report": "json"} {
		a := c.want(200, "GET", one+path, nil)
		if got := a.Header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="registry.ops.example-careless-dashboard-latest.`) || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s %s", path, got, a.body)
		}
	}
	c.want(422, "GET", one+"/report?format=exe", nil)
	w.Images.Forget()
	if got := list(""); got.Total != 0 || got.Items == nil {
		t.Errorf("nothing kept: %+v", got)
	}
}

func TestScanImage(t *testing.T) {
	c, w := adminOf(t, console.Config{})
	job := decode[console.ImageScan](t, c.want(202, "POST", "/api/v1/images/scan", console.ImageToScan{Reference: "registry.example/app:1"}))
	if job.State != "waiting" || job.ID == "" {
		t.Errorf("job %+v", job)
	}
	e := audit(t, w, "asked to scan registry.example/app:1")
	if e.Kind != event.ConsoleAccess || e.Evidence["scan"] != job.ID {
		t.Errorf("audit %+v", e)
	}
	for _, bad := range []console.ImageToScan{{}, {Reference: "a", Container: "b"}, {Reference: "dir:/etc"}, {Reference: strings.Repeat("x", 600)}} {
		c.want(422, "POST", "/api/v1/images/scan", bad)
	}
	c.want(202, "POST", "/api/v1/images/scan", console.ImageToScan{Container: "abc"})
	if a := c.want(429, "POST", "/api/v1/images/scan", console.ImageToScan{Reference: "one/more"}); a.problem() != "busy" {
		t.Errorf("too many: %s", a.problem())
	}
	if l := decode[console.List[console.ImageScan]](t, c.want(200, "GET", "/api/v1/images/scans", nil)); l.Total != 2 {
		t.Errorf("%d scans", l.Total)
	}
}

func TestHookOfARegistry(t *testing.T) {
	s, w := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	with := func(secret string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", secret) }
	}
	c.want(202, "POST", "/hooks/registry/shop", map[string]string{"type": "PUSH_ARTIFACT"}, with(consoletest.Secret))
	c.want(401, "POST", "/hooks/registry/shop", nil, with("guess"))
	c.want(404, "POST", "/hooks/registry/ops-registry", nil, with(consoletest.Secret)) // asks for none
	c.want(404, "POST", "/hooks/registry/nobody", nil, with(consoletest.Secret))
	// The socket of the command line is no way in for a registry.
	local(t, s.Socket()).want(404, "POST", "/hooks/registry/shop", nil, with(consoletest.Secret))
	c.want(421, "POST", "/hooks/registry/shop", nil, with(consoletest.Secret), func(r *http.Request) { r.Host = "evil.example" })
	if n := w.Images.Heard(); n != 1 {
		t.Errorf("%d notifications came through, want 1", n)
	}
	if e := audit(t, w, "refused a notification for shop"); e.Effect != event.Blocked || e.Reasons[0] != "webhook" {
		t.Errorf("refusal %+v", e)
	}
}
