package console_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hand is a clock that a test moves.
type hand struct {
	mu sync.Mutex
	t  time.Time
}

func newHand() *hand { return &hand{t: time.Now()} }

func (h *hand) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.t
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t = h.t.Add(d)
}

// client is a browser without a screen: cookies, and the CSRF token once known.
type client struct {
	t    *testing.T
	base string
	http *http.Client
	csrf string
}

func browser(t *testing.T, s *console.Server) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, base: "https://" + s.Addr(), http: &http.Client{Jar: jar, Transport: tr, Timeout: 20 * time.Second}}
}

func local(t *testing.T, socket string) *client {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, base: "http://gabion", http: &http.Client{Transport: tr, Timeout: 20 * time.Second}}
}

type answer struct {
	*http.Response
	body []byte
}

func (a answer) problem() string {
	var p struct{ Type string }
	if err := json.Unmarshal(a.body, &p); err != nil {
		return "not JSON: " + string(a.body)
	}
	return strings.TrimPrefix(p.Type, "urn:gabion:problem:")
}

// do sends a request; edit may change it before it goes.
func (c *client) do(method, path string, body any, edit ...func(*http.Request)) answer {
	c.t.Helper()
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.csrf != "" {
		req.Header.Set("X-Gabion-CSRF", c.csrf)
	}
	for _, f := range edit {
		f(req)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{res, raw}
}

func (c *client) want(status int, method, path string, body any, edit ...func(*http.Request)) answer {
	c.t.Helper()
	a := c.do(method, path, body, edit...)
	if a.StatusCode != status {
		c.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.StatusCode, status, a.body)
	}
	return a
}

func (c *client) signInLink(link string) answer {
	c.t.Helper()
	_, token, _ := strings.Cut(link, "#")
	a := c.do("POST", "/api/v1/signin/link", map[string]string{"token": token})
	c.remember(a)
	return a
}

func (c *client) signIn(user, password string) answer {
	c.t.Helper()
	a := c.do("POST", "/api/v1/signin/password", map[string]string{"user": user, "password": password})
	c.remember(a)
	return a
}

func (c *client) remember(a answer) {
	if a.StatusCode == http.StatusOK {
		c.csrf = decode[console.SessionInfo](c.t, a).CSRF
	}
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("answer is no %T: %v: %s", v, err, a.body)
	}
	return v
}

const password = "correct horse battery"

// signedIn gives a browser signed in as a new user with role.
func signedIn(t *testing.T, s *console.Server, admin *client, role string) *client {
	t.Helper()
	name := role + "-" + strings.ToLower(strings.ReplaceAll(t.Name()[4:min(len(t.Name()), 10)], "/", "-"))
	admin.want(200, "POST", "/api/v1/users", map[string]string{"name": name, "role": role, "password": password})
	c := browser(t, s)
	if a := c.signIn(name, password); a.StatusCode != 200 {
		t.Fatalf("sign in as %s: %d %s", name, a.StatusCode, a.body)
	}
	return c
}

// audit waits for an event of the console that contains text.
func audit(t *testing.T, w *consoletest.World, text string) event.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var found event.Event
	err := w.Store.Follow(ctx, 0, store.Query{Kinds: []event.Kind{event.ConsoleAccess}}, func(batch []event.Event) error {
		for _, e := range batch {
			if strings.Contains(e.Message, text) {
				found = e
				return io.EOF
			}
		}
		return nil
	})
	if err != io.EOF {
		t.Fatalf("no console.access event with %q: %v", text, err)
	}
	return found
}

func TestSignInLink(t *testing.T) {
	h := newHand()
	s, w := consoletest.Start(t, console.Config{}, h.now)
	link := s.SignInLink()

	c := browser(t, s)
	a := c.signInLink(link)
	if a.StatusCode != 200 {
		t.Fatalf("first use: %d %s", a.StatusCode, a.body)
	}
	cookie := a.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-gabion=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=43200"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	who := decode[console.SessionInfo](t, c.want(200, "GET", "/api/v1/session", nil))
	if who.Role != "admin" || who.CSRF == "" {
		t.Errorf("session is %+v, want an admin with a CSRF token", who)
	}
	audit(t, w, "signed in with a one-time link")

	if a := browser(t, s).signInLink(link); a.StatusCode != 401 || a.problem() != "link" {
		t.Errorf("second use: %d %s, want 401 link", a.StatusCode, a.body)
	}
	old := s.SignInLink()
	h.move(15 * time.Minute)
	if a := browser(t, s).signInLink(old); a.StatusCode != 401 {
		t.Errorf("after 15 minutes: %d, want 401", a.StatusCode)
	}
	refused := audit(t, w, "used, expired or wrong")
	if refused.Effect != event.Blocked || refused.Verdict != event.Deny {
		t.Errorf("refusal recorded as %s/%s, want deny/blocked", refused.Verdict, refused.Effect)
	}
}

// The cookie's token is never written down, only its digest.
func TestSessionIsKeptHashed(t *testing.T) {
	s, w := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	a := c.signInLink(s.SignInLink())
	token := strings.TrimPrefix(strings.Split(a.Header.Get("Set-Cookie"), ";")[0], "__Host-gabion=")
	docs, err := w.Store.Documents(t.Context(), "console-session")
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d sessions kept, %v; want 1", len(docs), err)
	}
	for name, doc := range docs {
		if strings.Contains(name+string(doc), token) {
			t.Error("the store holds the session's token itself")
		}
	}
}

func TestSessionEnds(t *testing.T) {
	cases := map[string]struct {
		steps []time.Duration // a request after each
		edit  func(*http.Request)
		want  int // status of the last
	}{
		"used":           {[]time.Duration{20 * time.Minute, 20 * time.Minute}, func(*http.Request) {}, 200},
		"idle":           {[]time.Duration{30 * time.Minute}, func(*http.Request) {}, 401},
		"only refreshed": {[]time.Duration{20 * time.Minute, 20 * time.Minute}, func(r *http.Request) { r.Header.Set("X-Gabion-Passive", "1") }, 401},
		"absolute": {func() (d []time.Duration) {
			for range 36 {
				d = append(d, 20*time.Minute)
			}
			return d
		}(), func(*http.Request) {}, 401},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHand()
			s, _ := consoletest.Start(t, console.Config{}, h.now)
			c := browser(t, s)
			c.signInLink(s.SignInLink())
			got := 0
			for _, d := range tc.steps {
				h.move(d)
				got = c.do("GET", "/api/v1/session", nil, tc.edit).StatusCode
			}
			if got != tc.want {
				t.Errorf("status %d at the end, want %d", got, tc.want)
			}
		})
	}
}

func TestSignOut(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	cookie := c.signInLink(s.SignInLink()).Header.Get("Set-Cookie")
	c.want(204, "POST", "/api/v1/signout", nil)
	stolen := browser(t, s)
	stolen.want(401, "GET", "/api/v1/session", nil, func(r *http.Request) { r.Header.Set("Cookie", strings.Split(cookie, ";")[0]) })
}

// Who is signed in and opens another link is signed in anew, and the session
// before ends.
func TestSignInAgain(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	c := browser(t, s)
	first := c.signInLink(s.SignInLink()).Header.Get("Set-Cookie")
	c.csrf = ""
	if a := c.signInLink(s.SignInLink()); a.StatusCode != 200 {
		t.Fatalf("second link: %d %s", a.StatusCode, a.body)
	}
	c.want(200, "GET", "/api/v1/session", nil)
	browser(t, s).want(401, "GET", "/api/v1/session", nil, func(r *http.Request) { r.Header.Set("Cookie", strings.Split(first, ";")[0]) })
}

func TestUsers(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	admin := browser(t, s)
	admin.signInLink(s.SignInLink())

	alice := map[string]string{"name": "alice", "role": "operator", "password": password}
	admin.want(200, "POST", "/api/v1/users", alice)
	if a := admin.want(409, "POST", "/api/v1/users", alice); a.problem() != "conflict" {
		t.Errorf("second alice: %s", a.body)
	}
	for what, bad := range map[string]map[string]string{
		"short password": {"name": "bob", "role": "viewer", "password": "short"},
		"unknown role":   {"name": "bob", "role": "root", "password": password},
		"strange name":   {"name": "Bob ../x", "role": "viewer", "password": password},
	} {
		if a := admin.do("POST", "/api/v1/users", bad); a.StatusCode != 422 {
			t.Errorf("%s: status %d, want 422", what, a.StatusCode)
		}
	}
	if a := admin.want(200, "GET", "/api/v1/users", nil); bytes.Contains(a.body, []byte("argon2")) || !bytes.Contains(a.body, []byte("alice")) {
		t.Errorf("list of users: %s", a.body)
	}

	c := browser(t, s)
	if a := c.signIn("alice", "wrong password"); a.StatusCode != 401 || a.problem() != "credentials" {
		t.Errorf("wrong password: %d %s", a.StatusCode, a.body)
	}
	if a := c.signIn("nobody", password); a.StatusCode != 401 || a.problem() != "credentials" {
		t.Errorf("unknown user: %d %s", a.StatusCode, a.body)
	}
	if a := c.signIn("alice", password); a.StatusCode != 200 {
		t.Fatalf("right password: %d %s", a.StatusCode, a.body)
	}
	// A change of role ends the sessions; so does removal.
	admin.want(200, "PATCH", "/api/v1/users/alice", map[string]string{"role": "viewer"})
	c.want(401, "GET", "/api/v1/session", nil)
	c.csrf = ""
	if a := c.signIn("alice", password); a.StatusCode != 200 {
		t.Fatalf("sign in again: %d %s", a.StatusCode, a.body)
	}
	admin.want(204, "DELETE", "/api/v1/users/alice", nil)
	c.want(401, "GET", "/api/v1/session", nil)
	admin.want(404, "DELETE", "/api/v1/users/alice", nil)
}

func TestSignInIsLimited(t *testing.T) {
	h := newHand()
	s, w := consoletest.Start(t, console.Config{}, h.now)
	admin := browser(t, s)
	admin.signInLink(s.SignInLink())
	admin.want(200, "POST", "/api/v1/users", map[string]string{"name": "alice", "role": "viewer", "password": password})
	c := browser(t, s)
	for i := range 5 {
		if a := c.signIn("alice", "guess"); a.StatusCode != 401 {
			t.Fatalf("guess %d: %d", i, a.StatusCode)
		}
	}
	a := c.signIn("alice", password)
	if a.StatusCode != 429 || a.Header.Get("Retry-After") == "" {
		t.Fatalf("after five wrong guesses: %d, Retry-After %q; want 429 with one", a.StatusCode, a.Header.Get("Retry-After"))
	}
	h.move(5 * time.Minute)
	if a := c.signIn("alice", password); a.StatusCode != 200 {
		t.Errorf("after the window: %d %s", a.StatusCode, a.body)
	}
	if e := audit(t, w, "user or password is wrong"); e.Count != 5 {
		t.Errorf("five failed sign-ins are one event with count %d", e.Count)
	}
}

func TestSocket(t *testing.T) {
	h := newHand()
	s, w := consoletest.Start(t, console.Config{Socket: filepath.Join(t.TempDir(), "s")}, h.now)
	c := local(t, s.Socket())
	who := decode[console.SessionInfo](t, c.want(200, "GET", "/api/v1/session", nil))
	if who.Role != "admin" || !strings.HasSuffix(who.User, "(local)") {
		t.Errorf("over the socket the caller is %+v, want a local admin", who)
	}
	link := decode[struct{ URL string }](t, c.want(200, "POST", "/api/v1/links", map[string]string{"role": "viewer"})).URL
	b := browser(t, s)
	if a := b.signInLink(link); a.StatusCode != 200 || decode[console.SessionInfo](t, a).Role != "viewer" {
		t.Errorf("a link made for a viewer: %d %s", a.StatusCode, a.body)
	}
	audit(t, w, "made a sign-in link for the role viewer")
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	w := consoletest.NewWorld(time.Now)
	deps := w.Deps(slog.New(slog.DiscardHandler), time.Now)
	missing := deps
	missing.Follow = nil
	if _, err := console.New(console.Config{DataDir: t.TempDir(), Listen: "off", Socket: "off"}, missing); err == nil {
		t.Error("New took Deps without Follow")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := console.New(console.Config{DataDir: t.TempDir(), Listen: l.Addr().String(), Socket: "off"}, deps); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a used address gives %v, want an error that says what to do", err)
	}
	sock := filepath.Join(t.TempDir(), "s")
	u, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := console.New(console.Config{DataDir: t.TempDir(), Listen: "off", Socket: sock}, deps); err == nil {
		t.Error("New took over a socket that another process serves")
	}
}
