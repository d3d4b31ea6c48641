package console_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/access"
	"github.com/gabion-dev/gabion/console/consoletest"
)

// TestEveryRouteWantsItsRole asks for every route of the table as nobody, as
// each role, and sees who is let through the gate.
func TestEveryRouteWantsItsRole(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	admin := browser(t, s)
	admin.signInLink(s.SignInLink())
	people := map[access.Role]*client{
		access.Public: browser(t, s), access.Viewer: signedIn(t, s, admin, "viewer"),
		access.Operator: signedIn(t, s, admin, "operator"), access.Admin: admin,
	}
	table := console.Permissions()
	if len(table) < 25 {
		t.Fatalf("the table has %d routes only", len(table))
	}
	for _, p := range table {
		if p.ID == "sign-out" || p.ID == "stream-events" {
			continue // the first would end the session; both are looked at elsewhere
		}
		path := strings.NewReplacer("{namespace}", "shop", "{name}", "no-such", "{id}", "no-such", "{digest}", "sha256:00").Replace(p.Path)
		for role, c := range people {
			// Bodies are left out on purpose: the role is checked before them.
			a := c.do(p.Method, path, nil)
			refused := a.StatusCode == 403 && a.problem() == "role" || a.StatusCode == 401 && a.problem() == "sign-in"
			if allowed := role.Covers(p.Role); allowed == refused {
				t.Errorf("%s %s (%s) as %s: status %d %s", p.Method, p.Path, p.Role, role, a.StatusCode, a.body)
			}
			if role == access.Public && p.Role != access.Public && a.StatusCode != 401 {
				t.Errorf("%s %s as nobody: %d, want 401", p.Method, p.Path, a.StatusCode)
			}
		}
	}
}

// TestRolesOfTheTable pins what each role may change, so that a change of the
// table is seen in review twice.
func TestRolesOfTheTable(t *testing.T) {
	want := map[string]access.Role{
		"act-on-container": access.Operator, "undo-action": access.Operator, "apply-policy": access.Operator, "promote-policy": access.Operator, "scan-image": access.Operator,
		"delete-policy": access.Admin, "create-user": access.Admin, "change-user": access.Admin, "delete-user": access.Admin, "create-link": access.Admin,
		"sign-in-link": access.Public, "sign-in-password": access.Public, "sign-out": access.Viewer, "lint-policy": access.Viewer, "diff-policy": access.Viewer,
	}
	for _, p := range console.Permissions() {
		if p.Method == http.MethodGet {
			if p.Role == access.Public {
				t.Errorf("%s may be read by anyone", p.Path)
			}
			continue
		}
		if want[p.ID] != p.Role {
			t.Errorf("%s wants %s, this test %q", p.ID, p.Role, want[p.ID])
		}
	}
}

func TestCrossSite(t *testing.T) {
	s, w := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	c.signInLink(s.SignInLink())
	promote := "/api/v1/policies/WorkloadPolicy%2Fshop%2Fweb/promote"
	body := map[string]string{"mode": "Learn"}
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	cases := []struct {
		name   string
		edit   func(*http.Request)
		status int
		code   string
	}{
		{"no token", func(r *http.Request) { r.Header.Del("X-Gabion-CSRF") }, 403, "csrf"},
		{"wrong token", set("X-Gabion-CSRF", strings.Repeat("0", 32)), 403, "csrf"},
		{"another origin", set("Origin", "https://evil.example"), 403, "origin"},
		{"fetch metadata", set("Sec-Fetch-Site", "cross-site"), 403, "origin"},
		{"same site only", set("Sec-Fetch-Site", "same-site"), 403, "origin"},
		{"a form", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, ""},
		{"own page", set("Sec-Fetch-Site", "same-origin"), 204, ""},
		{"command line", func(*http.Request) {}, 204, ""},
	}
	for _, tc := range cases {
		a := c.do("POST", promote, body, tc.edit)
		if a.StatusCode != tc.status || tc.code != "" && a.problem() != tc.code {
			t.Errorf("%s: %d %s, want %d %s", tc.name, a.StatusCode, a.body, tc.status, tc.code)
		}
	}
	// Signing someone in from another site is refused, too (login CSRF).
	if a := browser(t, s).do("POST", "/api/v1/signin/password", map[string]string{"user": "a", "password": "b"}, set("Sec-Fetch-Site", "cross-site")); a.StatusCode != 403 {
		t.Errorf("sign-in from another site: %d, want 403", a.StatusCode)
	}
	audit(t, w, "the request comes from another site")
}

func TestHost(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{Hosts: []string{"console.internal", "Gabion.Example.ORG."}}, time.Now)
	c := browser(t, s)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8443": 200, "localhost.": 200, "127.0.0.1:8443": 200, "[::1]:8443": 200, "console.internal": 200, "gabion.example.org:8443": 200,
		"evil.example": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example:8443": 421,
	} {
		a := c.do("GET", "/", nil, func(r *http.Request) { r.Host = host })
		if a.StatusCode != want {
			t.Errorf("host %s: %d, want %d", host, a.StatusCode, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	for _, path := range []string{"/", "/workloads/shop/web.v2", "/api/v1/session", "/api/v1/none", "/no/such.png"} {
		h := c.do("GET", path, nil).Header
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy lacks %s: %s", path, want, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy is too wide: %s", path, csp)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
			}
		}
		if cors := h.Get("Access-Control-Allow-Origin"); cors != "" {
			t.Errorf("%s: other origins are allowed: %s", path, cors)
		}
	}
}

// TestPage checks that the page holds nothing that its own policy would stop,
// and asks nobody else for anything.
func TestPage(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	page := c.want(200, "GET", "/", nil).body
	for _, bad := range []string{"http:", "https:", "//cdn", "style=", "onload=", "<style"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("index.html has %q", bad)
		}
	}
	for _, src := range strings.Split(string(page), `src="`)[1:] {
		src, _, _ = strings.Cut(src, `"`)
		a := c.want(200, "GET", src, nil)
		if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/javascript") {
			t.Errorf("%s has type %q", src, got)
		}
		if strings.HasPrefix(src, "/assets/") && !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s is not kept by browsers", src)
		}
	}
	if a := c.do("GET", "/assets/../../etc/passwd", nil); a.StatusCode == 200 && bytes.Contains(a.body, []byte("root:")) {
		t.Error("files outside of the bundle are served")
	}
	c.want(404, "GET", "/missing.js", nil)
	if got := string(c.want(200, "GET", "/healthz", nil).body); got != "ok\n" {
		t.Errorf("healthz says %q", got)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	c.signInLink(s.SignInLink())
	c.want(413, "POST", "/api/v1/policies/lint", map[string]string{"yaml": strings.Repeat("x", 2<<20)})
	c.want(422, "POST", "/api/v1/policies/lint", map[string]string{"yaml": strings.Repeat("x", 1_000_001)})
	c.want(422, "POST", "/api/v1/policies/lint", map[string]string{"yaml": "x", "more": "y"})
	c.want(422, "GET", "/api/v1/workloads?limit=100000", nil)
	c.want(422, "GET", "/api/v1/workloads?nonsense=1", nil)
}
