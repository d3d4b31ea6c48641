package program

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scenario/stratum"
)

func TestMain(m *testing.M) {
	if Main(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// install links the test binary under the names and puts them into PATH, so
// that the programs run as in a container: by name, one executing the other.
func install(t *testing.T, names ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, n := range names {
		if err := os.Symlink(self, filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv(Switch, "1")
	return dir
}

func TestMainNeedsNameAndSwitch(t *testing.T) {
	for _, tc := range []struct {
		argv []string
		on   string
	}{
		{nil, "1"},
		{[]string{"gabion", "up"}, "1"},
		{[]string{"/usr/bin/sh", "-c", "id"}, ""},
		{[]string{"/usr/bin/sh", "-c", "id"}, "yes"},
	} {
		t.Setenv(Switch, tc.on)
		if Main(tc.argv) {
			t.Errorf("Main(%q) with %s=%q acted", tc.argv, Switch, tc.on)
		}
	}
}

func TestToolsByName(t *testing.T) {
	dir := install(t, append(Tools(), "kworker")...)
	file := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(file, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		line, want string
		status     int
	}{
		{"id", "uid=0", 0},
		{"cat " + file + "; id", "hello\nuid=", 0},
		{"ls " + filepath.Dir(file), "note", 0},
		{"chmod 755 " + file, "", 0},
		{"chmod x " + file, "read mode", 1},
		{"cat /does/not/exist", "no such file", 1},
		{"nonesuch", "not found", 127},
		{"echo a 'b  c'", "a b  c\n", 0},
		{"env", Switch + "=1", 0},
		{"uname; hostname; pwd; true", "Linux\n", 0},
		{"true; false", "", 1},
		{"kworker prove 'a b'", Proof("a b"), 0},
		{"python3 -c 'prove x; prove y'", Proof("y"), 0},
		{"python3 x", "usage", 2},
		{"kworker dance now", "usage", 2},
		{"cat 'x", "unterminated", 2},
	} {
		out, err := exec.Command(filepath.Join(dir, "sh"), "-c", tc.line).CombinedOutput()
		status := 0
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			status = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() != 0 {
			tc.want = strings.ReplaceAll(tc.want, "uid=0", "uid=")
		}
		if status != tc.status || !strings.Contains(string(out), tc.want) {
			t.Errorf("sh -c %q = %d, %q; want %d with %q", tc.line, status, out, tc.status, tc.want)
		}
	}
}

// TestNothingOutside: no program dials an address outside of the re-enactment,
// whatever it is told and whatever a name resolves to.
func TestNothingOutside(t *testing.T) {
	e := &Env{Stdout: io.Discard, Stderr: io.Discard}
	for _, a := range []string{"1.1.1.1:443", "10.88.1.1:80", "192.168.0.1:22", "169.254.169.254:80", "[2606:4700::1]:443", "[::ffff:8.8.8.8]:53"} {
		if conn, err := e.dial(t.Context(), "tcp", a); !errors.Is(err, ErrOutside) {
			if conn != nil {
				conn.Close()
			}
			t.Errorf("dial %s = %v, want ErrOutside", a, err)
		}
	}
	for _, a := range []string{"127.0.0.1", "::1", "10.88.0.11", "fd88:88::11", "203.0.113.66", "198.51.100.10", "2001:db8:10::10", "172.30.0.10"} {
		if !inside(netip.MustParseAddr(a)) {
			t.Errorf("%s is refused, but belongs to the re-enactment", a)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		line string
		want string // words joined by "|", commands by "/"
	}{
		{"", ""},
		{" ; ;\n", ""},
		{"id; ls  /tmp", "id/ls|/tmp"},
		{`fetch -H 'A: b; c' "d e" f`, "fetch|-H|A: b; c|d e|f"},
		{`a''b c""`, "ab|c"},
		{"x ''", "x|"},
	} {
		commands, err := split(tc.line)
		if err != nil {
			t.Errorf("split(%q): %v", tc.line, err)
		}
		var got []string
		for _, words := range commands {
			got = append(got, strings.Join(words, "|"))
		}
		if s := strings.Join(got, "/"); s != tc.want {
			t.Errorf("split(%q) = %q, want %q", tc.line, s, tc.want)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("id; ls /tmp")
	f.Add(`a 'b "c' d"`)
	f.Fuzz(func(t *testing.T, line string) {
		commands, err := split(line)
		if err != nil {
			return
		}
		for _, words := range commands {
			if len(words) == 0 {
				t.Fatalf("split(%q) has an empty command", line)
			}
		}
	})
}

// world is the services of the story on loopback.
type world struct {
	shop, dashboard *httptest.Server
	config          string // the shop's configuration file
	token           string // the dashboard's token file
}

func newWorld(t *testing.T) *world {
	t.Helper()
	e := &Env{Stdout: io.Discard, Stderr: io.Discard}
	dir := t.TempDir()
	w := &world{config: filepath.Join(dir, "shop.json"), token: filepath.Join(dir, "token")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveOrders(ctx, l)
	}()
	payments := httptest.NewServer(paymentsHandler())
	api := httptest.NewServer(apiHandler(Config{Token: "t0ken", Secrets: map[string]string{"a": "s3cret"}}))
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(w.config, `{"title": "Renamed shop"}`)
	write(w.token, "t0ken\n")
	s := &shop{env: e, file: w.config, carts: map[string][]int{},
		cfg: Config{Title: "Basket shop", Payments: payments.URL + "/rpc", Orders: l.Addr().String()}}
	w.shop = httptest.NewServer(s.handler())
	d := &dashboard{env: e, cfg: Config{Title: "Cluster dashboard", API: api.URL, TokenFile: w.token}}
	w.dashboard = httptest.NewServer(d.handler())
	t.Cleanup(func() {
		for _, s := range []*httptest.Server{w.shop, w.dashboard, payments, api} {
			s.Close()
		}
		cancel()
		<-done
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

func do(t *testing.T, method, target, body string, cookies ...*http.Cookie) (int, string, []*http.Cookie) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range cookies {
		req.AddCookie(c)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data), resp.Cookies()
}

func TestShop(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := newWorld(t)
	base := w.shop.URL
	_, _, cookies := do(t, "POST", base+"/cart", "product=1")
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
		cookies            []*http.Cookie
	}{
		{"GET", "/healthz", "", 200, "ok", nil},
		{"GET", "/", "", 200, "Basket shop", nil},
		{"GET", "/products", "", 200, "Wicker chair", nil},
		{"GET", "/products/3", "", 200, "Gabion planter", nil},
		{"GET", "/products/9", "", 404, "no such product", nil},
		{"POST", "/cart", "product=9", 400, "no such product", nil},
		{"POST", "/cart", "product=3", 200, `"items":2`, cookies},
		{"GET", "/cart", "", 200, "[1,3]", cookies},
		{"GET", "/cart", "", 200, "[]", nil},
		{"POST", "/checkout", "", 400, "cart is empty", nil},
		{"POST", "/checkout", "", 200, `"total":30800`, cookies},
		{"POST", "/internal/import", "word", 200, Proof("word"), nil},
		{"POST", "/-/reload", "", 200, "ok", nil},
		{"GET", "/", "", 200, "Renamed shop", nil},
		{"POST", "/checkout", "", 502, "payments", cookies}, // the new file names no payments
	} {
		status, body, _ := do(t, tc.method, base+tc.path, tc.body, tc.cookies...)
		if status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s = %d %q, want %d with %q", tc.method, tc.path, status, body, tc.status, tc.want)
		}
	}
}

func TestDashboard(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := newWorld(t)
	base := w.dashboard.URL
	if status, body, _ := do(t, "GET", base+"/pods", ""); status != 200 || !strings.Contains(body, "PodList") {
		t.Errorf("pods = %d %q", status, body)
	}
	if err := os.WriteFile(w.token, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := do(t, "GET", base+"/pods", ""); status != http.StatusUnauthorized {
		t.Errorf("pods with a wrong token = %d, want 401", status)
	}
	file := filepath.Join(t.TempDir(), "deep", "file")
	if status, body, _ := do(t, "POST", base+"/upload?path="+url.QueryEscape(file), "content"); status != 200 {
		t.Errorf("upload = %d %q", status, body)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "content" {
		t.Errorf("uploaded file holds %q, %v", data, err)
	}
	if status, _, _ := do(t, "POST", base+"/upload?path=relative", "x"); status != http.StatusBadRequest {
		t.Errorf("upload to a relative path = %d, want 400", status)
	}
	// From memory: the test binary, which acts as kworker.
	t.Setenv(Switch, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := do(t, "POST", base+"/plugin?arg=prove&arg=n", string(data))
	if !strings.Contains(body, Proof("n")) {
		t.Errorf("plugin answered %q, want the proof that it ran", body)
	}
}

func TestFetch(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t: x" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		io.WriteString(w, "payload")
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "out")
	var out, diag bytes.Buffer
	run := func(args ...string) int {
		return runFetch(t.Context(), &Env{Args: args, Stdout: &out, Stderr: &diag})
	}
	if s := run("-H", "Authorization: Bearer t: x", "-o", file, srv.URL); s != 0 {
		t.Fatalf("fetch = %d, %s", s, diag.String())
	}
	if data, _ := os.ReadFile(file); string(data) != "payload" {
		t.Errorf("file holds %q", data)
	}
	if s := run(srv.URL); s != exitFailed || !strings.Contains(diag.String(), "403") {
		t.Errorf("fetch without header = %d, %q; want failure with the status", s, diag.String())
	}
	if s := run("-x"); s != exitUsage {
		t.Errorf("fetch -x = %d, want usage", s)
	}
	if s := run("http://1.1.1.1/"); s != exitFailed || !strings.Contains(diag.String(), "outside") {
		t.Errorf("fetch from outside = %d, %q", s, diag.String())
	}
}

func TestImplant(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := newWorld(t)
	pool := stratum.NewPool(8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Serve(l, stratum.Lines); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, tc := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"mine", "stratum+tcp://" + l.Addr().String(), "2"}, 0, "shares 2"},
		{[]string{"mine", "stratum+tcp://1.1.1.1:3333"}, 1, "shares 0"},
		{[]string{"mine", "stratum+tcp://x", "many"}, 2, "usage"},
		{[]string{"scan", "127.0.0.1-127.0.0.1", port + ",1"}, 0, "open 127.0.0.1:" + port},
		{[]string{"scan", "127.0.0.1", "1"}, 2, "usage"},
		{[]string{"spread", w.shop.URL + "/internal/import", "n"}, 0, "proof " + Proof("n")},
		{[]string{"prove"}, 2, "usage"},
	} {
		var out bytes.Buffer
		if s := runImplant(t.Context(), &Env{Args: tc.args, Stdout: &out, Stderr: &out}); s != tc.status || !strings.Contains(out.String(), tc.want) {
			t.Errorf("kworker %q = %d, %q; want %d with %q", tc.args, s, out.String(), tc.status, tc.want)
		}
	}
	if pool.Shares() != 2 {
		t.Errorf("pool counted %d shares, want 2", pool.Shares())
	}
}

func TestReportIsBounded(t *testing.T) {
	var out bytes.Buffer
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if s := runReport(ctx, &Env{Args: []string{"2s"}, Stdout: &out, Stderr: &out}); s != 0 || !strings.Contains(out.String(), "rows") {
		t.Errorf("report = %d, %q", s, out.String())
	}
	if d := time.Since(start); d >= 2*time.Second {
		t.Errorf("report went on for %s after its context ended", d)
	}
	if s := runReport(ctx, &Env{Args: []string{"long"}, Stdout: &out, Stderr: &out}); s != exitUsage {
		t.Errorf("report long = %d, want usage", s)
	}
}

// TestTrojanHides: only a copy that ends with the mark hides files.
func TestTrojanHides(t *testing.T) {
	dir := install(t, "ls")
	files := t.TempDir()
	for _, n := range []string{"readme", ".kworker-log"} {
		if err := os.WriteFile(filepath.Join(files, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(filepath.Join(dir, "ls"), files).CombinedOutput()
	if err != nil || !strings.Contains(string(out), ".kworker-log") {
		t.Fatalf("the honest ls printed %q, %v", out, err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	bad := filepath.Join(t.TempDir(), "ls")
	if err := store(bad, io.MultiReader(self, strings.NewReader(HideMark))); err != nil {
		t.Fatal(err)
	}
	out, err = exec.Command(bad, files).CombinedOutput()
	if err != nil || strings.Contains(string(out), ".kworker-log") || !strings.Contains(string(out), "readme") {
		t.Errorf("the trojaned ls printed %q, %v", out, err)
	}
}

func TestServiceEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"listen":"127.0.0.1:0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "payments", "orders-db", "dashboard", "api"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int, 1)
		var diag bytes.Buffer
		go func() { done <- find(name)(ctx, &Env{Args: []string{file}, Stdout: &diag, Stderr: &diag}) }()
		cancel()
		select {
		case s := <-done:
			if s != 0 {
				t.Errorf("%s ended with %d: %s", name, s, diag.String())
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s did not end", name)
		}
		if s := find(name)(t.Context(), &Env{Args: []string{file + ".missing"}, Stdout: &diag, Stderr: &diag}); s != exitFailed || !strings.Contains(diag.String(), "is missing") {
			t.Errorf("%s without configuration = %d, %q", name, s, diag.String())
		}
	}
}
