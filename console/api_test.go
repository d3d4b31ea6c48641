package console_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

func adminOf(t *testing.T, cfg console.Config) (*client, *consoletest.World) {
	t.Helper()
	s, w := consoletest.Start(t, cfg, time.Now)
	c := browser(t, s)
	c.signInLink(s.SignInLink())
	return c, w
}

func TestOverview(t *testing.T) {
	c, w := adminOf(t, console.Config{})
	o := decode[console.OverviewAnswer](t, c.want(200, "GET", "/api/v1/overview", nil))
	cov := o.Coverage
	if cov.Containers != cov.Enforced+cov.Monitored+cov.Learning+cov.Blind || cov.Blind != 1 || len(cov.Unwatched) != 1 {
		t.Errorf("coverage does not add up: %+v", cov)
	}
	if o.Store.Events == 0 || o.StoreProblem != "" {
		t.Errorf("store's figures are %+v %q", o.Store, o.StoreProblem)
	}
	w.Platform.SetFail(errors.New("secret path /var/lib/x"))
	a := c.want(500, "GET", "/api/v1/overview", nil)
	if bytes.Contains(a.body, []byte("secret")) || !bytes.Contains(a.body, []byte("reference")) {
		t.Errorf("an inner error is told to the outside: %s", a.body)
	}
}

func TestWorkloads(t *testing.T) {
	c, _ := adminOf(t, console.Config{})
	list := func(query string) console.List[console.Workload] {
		return decode[console.List[console.Workload]](t, c.want(200, "GET", "/api/v1/workloads?"+query, nil))
	}
	all := list("")
	if all.Total != 12 || len(all.Items) != 12 {
		t.Fatalf("%d of %d workloads, want 12", len(all.Items), all.Total)
	}
	if !slices.IsSortedFunc(all.Items, func(a, b console.Workload) int { return strings.Compare(a.Ref.String(), b.Ref.String()) }) {
		t.Error("workloads are not sorted by name")
	}
	var paged []string
	for offset := 0; offset < 12; offset += 5 {
		p := list("limit=5&offset=" + string(rune('0'+offset/10)) + string(rune('0'+offset%10)))
		if p.Total != 12 {
			t.Fatalf("total is %d on a page", p.Total)
		}
		for _, w := range p.Items {
			paged = append(paged, w.Ref.String())
		}
	}
	if len(paged) != 12 || paged[11] != all.Items[11].Ref.String() {
		t.Errorf("pages give %v", paged)
	}
	if p := list("limit=5&offset=5000"); p.Total != 12 || len(p.Items) != 0 {
		t.Errorf("a page past the end: %+v", p)
	}
	if p := list("state=blind"); p.Total != 1 || p.Items[0].Ref.Name != "node-exporter" {
		t.Errorf("blind workloads: %+v", p)
	}
	if p := list("q=CARELESS"); p.Total != 1 || p.Items[0].Blocked != 47 {
		t.Errorf("search by image, with counts from the store: %+v", p)
	}
	d := decode[console.WorkloadDetail](t, c.want(200, "GET", "/api/v1/workloads/shop/checkout", nil))
	if len(d.Running) != 3 || len(d.Plan.Rules) == 0 || d.Plan.Rules[0].Rule.Line == 0 || d.Blocked != 2 {
		t.Errorf("detail: %d running, %d rules, %d blocked", len(d.Running), len(d.Plan.Rules), d.Blocked)
	}
	if a := c.want(404, "GET", "/api/v1/workloads/shop/none", nil); a.problem() != "not-found" {
		t.Errorf("missing workload: %s", a.body)
	}
	doc := decode[console.Document](t, c.want(200, "GET", "/api/v1/workloads/shop/checkout/policy", nil))
	if !strings.Contains(doc.YAML, "/usr/local/bin/node") {
		t.Errorf("learned policy: %s", doc.YAML)
	}
}

func TestEvents(t *testing.T) {
	c, _ := adminOf(t, console.Config{})
	list := func(query string) store.Page {
		return decode[store.Page](t, c.want(200, "GET", "/api/v1/events?"+query, nil))
	}
	blocked := list("effect=blocked&kind=process,network")
	if len(blocked.Events) != 5 {
		t.Errorf("%d blocked decisions, want 5", len(blocked.Events))
	}
	for query, want := range map[string]int{
		"kind=process.drift": 1, "severity=critical": 2, "namespace=shop&workload=web&effect=would-block": 1,
		"q=KWORKERD": 1, "policy=WorkloadPolicy%2Fshop%2Fcheckout": 1, "since=7m&kind=network": 1, "until=2001-01-01T00:00:00Z": 0,
	} {
		if got := len(list(query).Events); got != want {
			t.Errorf("%s: %d events, want %d", query, got, want)
		}
	}
	seen := map[string]bool{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		p := list("limit=7&until=" + url.QueryEscape(time.Now().UTC().Format(time.RFC3339)) + "&cursor=" + cursor)
		for _, e := range p.Events {
			if seen[e.ID] {
				t.Fatalf("event %s is on two pages", e.ID)
			}
			seen[e.ID] = true
		}
		if cursor = p.Next; pages > 20 {
			t.Fatal("pages do not end")
		}
	}
	if len(seen) < 37 {
		t.Errorf("pages give %d events", len(seen))
	}
	e := decode[event.Event](t, c.want(200, "GET", "/api/v1/events/"+blocked.Events[0].ID, nil))
	if e.Rule == nil || e.Rule.Line == 0 {
		t.Errorf("event has no rule: %+v", e)
	}
	c.want(404, "GET", "/api/v1/events/none", nil)
	for _, bad := range []string{"kind=nonsense", "effect=maybe", "severity=loud", "since=yesterday", "since=-5m", "container=abc", "cursor=zzz", "limit=1001"} {
		c.want(422, "GET", "/api/v1/events?"+bad, nil)
	}
	counts := decode[struct{ Items []store.Bucket }](t, c.want(200, "GET", "/api/v1/events/counts?by=effect&kind=process,network&since=24h&step=1h", nil))
	sum := map[string]uint64{}
	for _, b := range counts.Items {
		sum[b.Key] += b.Count
	}
	if sum["blocked"] != 49 || sum["would-block"] != 3 {
		t.Errorf("sums by effect: %v, want 49 blocked and 3 would-block", sum)
	}
	c.want(422, "GET", "/api/v1/events/counts?step=fast", nil)
}

func TestExport(t *testing.T) {
	c, _ := adminOf(t, console.Config{})
	for query, want := range map[string]struct {
		lines int
		state string
	}{"effect=blocked&kind=process,network": {5, "complete"}, "limit=3": {3, "truncated"}} {
		a := c.want(200, "GET", "/api/v1/events/export?"+query, nil)
		lines := strings.Split(strings.TrimSpace(string(a.body)), "\n")
		for _, l := range lines {
			var e event.Event
			if err := json.Unmarshal([]byte(l), &e); err != nil || e.ID == "" {
				t.Errorf("line is no event: %v: %s", err, l)
			}
		}
		if len(lines) != want.lines || a.Trailer.Get("Gabion-Export") != want.state {
			t.Errorf("%s: %d lines, %q; want %+v", query, len(lines), a.Trailer.Get("Gabion-Export"), want)
		}
		if ct := a.Header.Get("Content-Type"); ct != "application/x-ndjson" {
			t.Errorf("type %q", ct)
		}
	}
}

// message is one server-sent event.
type message struct{ name, id, data string }

// stream opens an event stream; next gives its messages, comments left out.
func (c *client) stream(path string, edit ...func(*http.Request)) (next func() (message, bool), stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range edit {
		f(req)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		c.t.Fatalf("stream: %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	sc := bufio.NewScanner(res.Body)
	return func() (message, bool) {
			var m message
			for sc.Scan() {
				line := sc.Text()
				switch {
				case line == "" && m != message{}:
					return m, true
				case strings.HasPrefix(line, "event: "):
					m.name = line[7:]
				case strings.HasPrefix(line, "id: "):
					m.id = line[4:]
				case strings.HasPrefix(line, "data: "):
					m.data = line[6:]
				}
			}
			return m, false
		}, func() {
			cancel()
			res.Body.Close()
		}
}

func drift(id string, count uint64) event.Event {
	now := time.Now().UTC()
	return event.Event{ID: id, Kind: event.ProcessDrift, First: now, Last: now, Count: count, Severity: event.High, Effect: event.Blocked, Message: "stopped " + id}
}

func TestStream(t *testing.T) {
	c, w := adminOf(t, console.Config{})
	next, stop := c.stream("/api/v1/events/stream?kind=process")
	defer stop()
	if m, ok := next(); !ok || m.name != "ready" {
		t.Fatalf("first message is %+v", m)
	}
	add := func(e event.Event) event.Event {
		out, err := w.Store.Append(t.Context(), []event.Event{e})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	add(drift("a", 1))
	add(event.Event{ID: "other", Kind: event.AgentHealth, First: time.Now(), Last: time.Now(), Count: 1, Message: "not selected"})
	second := add(drift("a", 5))
	var got event.Event
	for range 2 {
		m, ok := next()
		if !ok || json.Unmarshal([]byte(m.data), &got) != nil {
			t.Fatalf("message %+v", m)
		}
		if got.Count == 5 {
			break
		}
	}
	if got.ID != "a" || got.Count != 5 || got.Seq != second.Seq {
		t.Errorf("last message is %+v, want the grown cause", got)
	}
	// A browser that was away says what it saw last.
	missed := add(drift("b", 1))
	again, stopAgain := c.stream("/api/v1/events/stream?kind=process", func(r *http.Request) { r.Header.Set("Last-Event-ID", jsonNumber(second.Seq)) })
	defer stopAgain()
	again()
	if m, ok := again(); !ok || m.id != jsonNumber(missed.Seq) {
		t.Errorf("after a break: %+v, want seq %d", m, missed.Seq)
	}
	c.want(422, "GET", "/api/v1/events/stream?after=minus", nil)
}

func jsonNumber(n uint64) string {
	raw, _ := json.Marshal(n)
	return string(raw)
}

// A stream must not outlive its session.
func TestStreamEndsWithTheSession(t *testing.T) {
	c, _ := adminOf(t, console.Config{Heartbeat: 20 * time.Millisecond})
	next, stop := c.stream("/api/v1/events/stream")
	defer stop()
	next()
	c.want(204, "POST", "/api/v1/signout", nil)
	for {
		if _, ok := next(); !ok {
			return // the sign-out itself may still come through; then it ends
		}
	}
}

// A stream on which nothing happens for longer than any bound of a request is
// still there, over both kinds of listener.
func TestStreamOutlivesSilence(t *testing.T) {
	const bound = 150 * time.Millisecond
	s, w := consoletest.Start(t, console.Hurried(console.Config{Heartbeat: 4 * bound}, bound), time.Now)
	b := browser(t, s)
	b.signInLink(s.SignInLink())
	for name, c := range map[string]*client{"HTTP/2 over TLS": b, "HTTP/1.1 over the socket": local(t, s.Socket())} {
		next, stop := c.stream("/api/v1/events/stream?kind=process")
		next()
		time.Sleep(3 * bound) // the silence is what is tested
		if _, err := w.Store.Append(t.Context(), []event.Event{drift(name, 1)}); err != nil {
			t.Fatal(err)
		}
		if m, ok := next(); !ok || !strings.Contains(m.data, name) {
			t.Errorf("%s: after silence comes %+v, %v", name, m, ok)
		}
		stop()
	}
}

func TestStreamsAreBounded(t *testing.T) {
	c, _ := adminOf(t, console.Config{})
	for range 64 {
		next, stop := c.stream("/api/v1/events/stream")
		defer stop()
		next()
	}
	if a := c.want(503, "GET", "/api/v1/events/stream", nil); a.problem() != "streams" {
		t.Errorf("one stream too many: %s", a.body)
	}
}

func TestPolicies(t *testing.T) {
	c, w := adminOf(t, console.Config{})
	list := decode[console.List[console.Policy]](t, c.want(200, "GET", "/api/v1/policies", nil))
	if list.Total != 4 || list.Items[0].ID != "ClusterWorkloadPolicy/baseline" {
		t.Fatalf("list: %+v", list)
	}
	for _, p := range list.Items {
		if p.Source != "" {
			t.Errorf("%s: the list carries the source", p.ID)
		}
		if p.ID == "WorkloadPolicy/ops/dashboard" && p.Hits != 47 {
			t.Errorf("dashboard decided %d times, want 47", p.Hits)
		}
	}
	const id = "/api/v1/policies/WorkloadPolicy%2Fshop%2Fweb"
	p := decode[console.Policy](t, c.want(200, "GET", id, nil))
	if !strings.Contains(p.Source, "kind: WorkloadPolicy") || p.Hits != 3 {
		t.Errorf("policy: %d hits, source %q", p.Hits, p.Source)
	}
	f := decode[console.Forecast](t, c.want(200, "GET", id+"/forecast", nil))
	if f.Ready || f.WouldBlock != 1 || f.To != "Protect" {
		t.Errorf("forecast: %+v", f)
	}

	broken := strings.Replace(p.Source, "process:", "proces:", 1)
	lint := decode[struct{ Problems []console.Problem }](t, c.want(200, "POST", "/api/v1/policies/lint", map[string]string{"yaml": broken}))
	if len(lint.Problems) != 2 || lint.Problems[0].Line == 0 || lint.Problems[0].Hint == "" {
		t.Errorf("lint: %+v", lint)
	}
	a := c.want(422, "POST", "/api/v1/policies", map[string]string{"yaml": broken})
	var refusal struct {
		Errors []struct {
			Location string
			Value    console.Problem
		}
	}
	if err := json.Unmarshal(a.body, &refusal); err != nil || a.problem() != "policy" || len(refusal.Errors) != 1 || refusal.Errors[0].Value.Line != 7 || refusal.Errors[0].Location != "line 7: spec.proces" {
		t.Errorf("refusal: %s", a.body)
	}

	changed := strings.Replace(p.Source, "drift: Deny", "drift: Allow", 1)
	diff := decode[struct{ Diff string }](t, c.want(200, "POST", "/api/v1/policies/diff", map[string]string{"yaml": changed}))
	if !strings.Contains(diff.Diff, "+    drift: Allow") {
		t.Errorf("diff: %s", diff.Diff)
	}
	c.want(200, "POST", "/api/v1/policies", map[string]string{"yaml": changed})
	audit(t, w, "applied WorkloadPolicy/shop/web")
	c.want(204, "POST", id+"/promote", map[string]string{"mode": "Protect"})
	if e := audit(t, w, "set WorkloadPolicy/shop/web to Protect"); e.Actor != "local admin" {
		t.Errorf("the change was made by %q", e.Actor)
	}
	c.want(422, "POST", id+"/promote", map[string]string{"mode": "Off"})
	c.want(204, "DELETE", id, nil)
	audit(t, w, "removed WorkloadPolicy/shop/web")
	c.want(404, "GET", id, nil)
}

func TestActions(t *testing.T) {
	c, w := adminOf(t, console.Config{})
	one := func() console.Container {
		return decode[console.WorkloadDetail](t, c.want(200, "GET", "/api/v1/workloads/ops/dashboard", nil)).Running[0]
	}
	path := "/api/v1/containers/" + one().ID + "/actions"
	e := decode[event.Event](t, c.want(200, "POST", path, map[string]string{"action": "quarantine"}))
	if e.Kind != event.ResponseAction || !one().Quarantined {
		t.Errorf("after quarantine: event %s, quarantined %v", e.Kind, one().Quarantined)
	}
	audit(t, w, "asked to quarantine container")
	c.want(204, "POST", "/api/v1/events/"+e.ID+"/undo", nil)
	if one().Quarantined {
		t.Error("undo left it quarantined")
	}
	if a := c.want(409, "POST", "/api/v1/events/"+e.ID+"/undo", nil); a.problem() != "conflict" {
		t.Errorf("second undo: %s", a.body)
	}
	c.want(409, "POST", path, map[string]string{"action": "release"})
	c.want(422, "POST", path, map[string]string{"action": "explode"})
	c.want(404, "POST", "/api/v1/containers/none/actions", map[string]string{"action": "kill"})
}

// FuzzFilter: a filter is read or refused with a problem, nothing else.
func FuzzFilter(f *testing.F) {
	w := consoletest.NewWorld(time.Now)
	s, err := console.New(console.Config{DataDir: f.TempDir(), Listen: "off", Socket: "off"}, w.Deps(slog.New(slog.DiscardHandler), time.Now))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("process", "24h", "2026-01-02T15:04:05Z", "0123456789ab")
	f.Add("process.", "-1ns", "9999999h9999999h", "x")
	f.Fuzz(func(t *testing.T, kind, since, until, container string) {
		if err := s.CheckFilter(kind, since, until, container); err != nil {
			var p *huma.ErrorModel
			if !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity {
				t.Fatalf("refused with %v", err)
			}
		}
	})
}
