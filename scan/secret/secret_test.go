package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
)

func ids(found []scan.Secret) []string {
	var out []string
	for _, x := range found {
		out = append(out, x.Detector)
	}
	return out
}

// TestFilter compares with the slow and simple way, on random text that is
// full of keywords and of parts of them.
func TestFilter(t *testing.T) {
	words := []string{"abcd", "ghp_", "password", "-----begin", "é_x", "tps://", "bcda", "aaaa"}
	f, err := newFilter(words)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var b bytes.Buffer
		for b.Len() < 40 {
			w := words[rng.IntN(len(words))]
			switch rng.IntN(4) {
			case 0:
				b.WriteString(strings.ToUpper(w))
			case 1:
				b.WriteString(w[:rng.IntN(len(w))])
			case 2:
				b.WriteByte(byte(rng.IntN(256)))
			default:
				b.WriteString(w)
			}
		}
		text := b.Bytes()
		var want, got []string
		for n, w := range words {
			for at := range text {
				if at+len(w) <= len(text) && equalFold(text[at:at+len(w)], string(lower([]byte(w)))) {
					want = append(want, fmt.Sprint(n, " ", at))
				}
			}
		}
		f.find(text, func(n, at int) { got = append(got, fmt.Sprint(n, " ", at)) })
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q: %s", text, d)
		}
	}
	if _, err := newFilter([]string{"abc"}); err == nil {
		t.Error("a keyword that can slip through was taken")
	}
}

func TestAssigned(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{"NAME=v", "v", true},
		{"NAME = v w", "v", true},
		{`NAME: "v w"`, "v w", true},
		{`"NAME": 'v'`, "v", true},
		{`{\"NAME\":\"v\"}`, "v", true},
		{"NAME => 'v'", "v", true},
		{"NAME := `v`", "v", true},
		{"NAME_more=v", "v", true},
		{"<NAME>v</NAME>", "v", true},
		{`<add key="NAME" value="v"/>`, "v", true},
		{`set("NAME", "v")`, "v", true},
		{`["x", "NAME", "v"]`, "", false},
		{"run --NAME v", "v", true},
		{"run NAME v", "", false},
		{"NAME == v", "", false},
		{"NAME=", "", false},
		{"NAME", "", false},
		{`NAME="unclosed`, "", false},
		{"NAME=\"v\nw\"", "", false},
		{"NAME" + strings.Repeat("x", 100) + "=v", "", false},
		{"NAME=" + strings.Repeat("v", maxValue+1), "", false},
	} {
		at := strings.Index(c.text, "NAME")
		v, ok := assigned([]byte(c.text), at+4)
		if ok != c.ok || ok && c.text[v.start:v.end] != c.want {
			t.Errorf("%.60q: %v, %+v", c.text, ok, v)
		}
	}
}

func TestNames(t *testing.T) {
	for suffix, want := range map[string]bool{
		"": true, "s": true, "2": true, "_KEY": true, "_base64": true, "_for_web": true,
		"_FILE": false, "_TTL": false, "izer": false, "Name": false, "_hash": false, "_id": false, "_url": false,
	} {
		if names([]byte(suffix)) != want {
			t.Errorf("%q: %v", suffix, !want)
		}
	}
}

func TestWants(t *testing.T) {
	s := scanner(t)
	for _, c := range []struct {
		path string
		size int64
		want bool
	}{
		{"app/config.yaml", 1000, true},
		{"/app/config.yaml", 1000, true},
		{"app/config.yaml", 0, false},
		{"app/config.yaml", 2 << 20, false},
		{"app/.env", 1000, true},
		{"app/.env", 64 << 20, true}, // the caller says that it is too big
		{"root/.ssh/id_rsa", 1 << 30, true},
		{"etc/shadow", 10 << 20, true},
		{"root/.docker/config.json", 5 << 20, true},
		{"app/server.key", 5 << 20, true},
		{"usr/local/bin/entrypoint", 10000, true},
		{"app/main.js", 10000, true},
		{"app/main.js", 300 << 10, false},
		{"app/jquery.min.js", 1000, false},
		{"app/logo.png", 1000, false},
		{"usr/lib/libssl.so.3", 1000, false},
		{"usr/share/doc/x/config.yaml", 1000, false},
		{"usr/share/doc/x/server.key", 1000, false},
		{"usr/lib/python3.11/test/keycert.pem", 1000, false},
		{"usr/lib/python3.11/ssl.py", 1000, false},
		{"app/node_modules/x/index.js", 1000, false},
		{"app/node_modules/x/package.json", 1000, true},
		{"app/node_modules/x/big.json", 100 << 10, false},
		{"app/node_modules/x/.env", 100 << 10, true},
		{"app/node_modules/x/password.js", 1000, false},
		{"node_modules/x/.npmrc", 1000, true},
		{"app/my_node_modules/index.js", 1000, true},
		{"proc/1/environ", 1000, false},
	} {
		if got := s.Wants(c.path, 0o644, c.size); got != c.want {
			t.Errorf("Wants(%q, %d) = %v", c.path, c.size, got)
		}
	}
}

// TestPlaces: the same text counts differently by where it is.
func TestPlaces(t *testing.T) {
	s := scanner(t)
	f := newFiller(t, "places")
	token := f.fill("token: {crc:ghp_:30}\n")
	password := f.fill(`password = "{alnum:16}"`)
	for _, c := range []struct {
		path, text string
		want       []string
		severity   scan.Severity
	}{
		{"app/x.yaml", token, []string{"github-token"}, scan.Critical},
		{"app/testdata/x.yaml", token, []string{"github-token"}, scan.Low},
		{"app/web_test.go", token, []string{"github-token"}, scan.Low},
		{"app/test_web.py", token, []string{"github-token"}, scan.Low},
		{"app/latest/x.yaml", token, []string{"github-token"}, scan.Critical},
		{"app/node_modules/x/x.yaml", token, []string{"github-token"}, scan.Low},
		{"app/x.py", password, []string{"generic-password"}, scan.Medium},
		{"app/x.py", strings.ReplaceAll(password, `"`, ""), nil, 0}, // code, not a text
		{"app/x.conf", strings.ReplaceAll(password, `"`, ""), []string{"generic-password"}, scan.Medium},
		{"app/node_modules/x/x.json", password, nil, 0},
		{"app/x.conf", "\x00\x01" + token, nil, 0}, // binary
		{"root/.bash_history", "\x00\x01" + token, []string{"github-token"}, scan.Critical},
	} {
		found := s.Scan(c.path, []byte(c.text))
		if d := cmp.Diff(c.want, ids(found)); d != "" {
			t.Errorf("%s: %s", c.path, d)
		}
		for _, x := range found {
			if x.Severity != c.severity || x.Where != "/"+c.path {
				t.Errorf("%s: %+v", c.path, x)
			}
		}
	}
}

func TestLinesAndOrder(t *testing.T) {
	s := scanner(t)
	f := newFiller(t, "lines")
	text := f.fill("a\nb\n{crc:ghp_:30}\r\n\nx: sk{+}_live_{alnum:24} {crc:gho_:30}\n")
	var got []string
	for _, x := range s.Scan("/app/x.conf", []byte(text)) {
		got = append(got, fmt.Sprintf("%s %d %s", x.Detector, x.Line, x.Where))
	}
	want := []string{"github-token 3 /app/x.conf", "github-token 5 /app/x.conf", "stripe-key 5 /app/x.conf"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestUTF16(t *testing.T) {
	s := scanner(t)
	text := newFiller(t, "utf16").fill("password ä {crc:ghp_:30}\r\n")
	for _, big := range []bool{false, true} {
		raw := []byte{0xff, 0xfe}
		if big {
			raw = []byte{0xfe, 0xff}
		}
		for _, u := range utf16.Encode([]rune(text)) {
			if big {
				raw = append(raw, byte(u>>8), byte(u))
			} else {
				raw = append(raw, byte(u), byte(u>>8))
			}
		}
		if d := cmp.Diff([]string{"github-token"}, ids(s.Scan("app/x.ps1", raw))); d != "" {
			t.Errorf("big endian %v: %s", big, d)
		}
	}
}

// TestSameSecretSameFingerprint, and another one has another.
func TestFingerprint(t *testing.T) {
	s := scanner(t)
	a, b := newFiller(t, "a").fill("{crc:ghp_:30}"), newFiller(t, "b").fill("{crc:ghp_:30}")
	find := func(text string) string {
		found := s.Scan("app/x.conf", []byte(text))
		if len(found) != 1 {
			t.Fatalf("%d found", len(found))
		}
		return found[0].Fingerprint
	}
	if find(a) != find("\n\n token="+a+"\n") || find(a) == find(b) {
		t.Error("the fingerprint does not tell the secret")
	}
}

func TestMask(t *testing.T) {
	for secret, want := range map[string]string{"": "********", "abc": "********", "abcd": "a********", "abcdefgh": "ab********", "abcdefghijklmnopqrst": "abcd********", "\xff\n\x00 bcdefghijklmnop": "************"} {
		if got := mask([]byte(secret)); got != want {
			t.Errorf("%q is shown as %q, want %q", secret, got, want)
		}
	}
}

// TestBounds: a file that holds nothing but candidates is given up on, and says so.
func TestBounds(t *testing.T) {
	s := scanner(t)
	f := newFiller(t, "bounds")
	for name, c := range map[string]struct{ text, more string }{
		"many secrets":    {strings.Repeat(f.fill("{crc:ghp_:30}")+"\n", 300), "more than 100"},
		"many candidates": {strings.Repeat("eyJhbGciOi.eyJ ", 20000), "more candidates"},
		"one long line":   {strings.Repeat("password=", 1<<16), ""},
		"no end of a key": {strings.Repeat("-----BEGIN PRIVATE"+" KEY-----\n", 20000), "more candidates"},
	} {
		t.Run(name, func(t *testing.T) {
			found := s.Scan("app/x.conf", []byte(c.text))
			if len(found) > 110 {
				t.Errorf("%d found", len(found))
			}
			said := slices.ContainsFunc(found, func(x scan.Secret) bool { return strings.Contains(x.Title, c.more) })
			if c.more != "" && !said {
				t.Errorf("nothing says %q", c.more)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	a, b := scanner(t), scanner(t)
	if a.Version() == "" || a.Version() != b.Version() {
		t.Errorf("%q and %q", a.Version(), b.Version())
	}
}

func TestConfig(t *testing.T) {
	s := scanner(t)
	f := newFiller(t, "config")
	weak, token, arg, legacy, user := f.fill("{lower:9}"), f.fill("{crc:ghp_:30}"), f.fill("{alnum:12}"), f.fill("{alnum:11}"), f.fill("{lower:10}")
	c := scan.Config{
		Env:    []string{"PATH=/usr/bin", "DB_PASSWORD=" + weak, "TOKEN_TTL=86400", "SECRET_FILE=/run/secrets/x", "API_TOKEN=${API_TOKEN}", "GH=" + token, "BROKEN", "=x"},
		Labels: map[string]string{"org.local.password": weak, "maintainer": "a@b.local"},
		Cmd:    []string{"serve", "--password=" + arg},
		History: []scan.History{
			{Command: "/bin/sh -c #(nop)  ENV DB_PASSWORD=" + weak},
			{Command: "|1 NPM_TOKEN=" + arg + " /bin/sh -c npm ci", Comment: "by " + token},
			{Command: "ENV SESSION_SECRET " + legacy},
			{Command: "RUN /bin/sh -c echo root:" + user + " | chpasswd # buildkit"},
			{Command: "RUN /bin/sh -c apt-get update && apt-get install -y curl # buildkit"},
		},
	}
	var got []string
	found := s.Config(c)
	for _, x := range found {
		got = append(got, x.Where+": "+x.Detector)
	}
	want := []string{"cmd: cli-password", "env DB_PASSWORD: config-secret", "env GH: github-token", "history 1: config-secret", "history 2: config-secret",
		"history 2: github-token", "history 3: config-secret", "history 4: chpasswd", "label org.local.password: config-secret"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	img := scan.Image{Name: "x", Config: c, Layers: []scan.Layer{{Command: "RUN echo " + token}}}
	clean := s.Redact(img)
	raw, err := json.Marshal(scan.Report{Image: clean, Secrets: found})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{weak, token, arg, legacy, user} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the report tells %q", secret)
		}
	}
	if !strings.Contains(string(raw), "apt-get install -y curl") || !strings.Contains(string(raw), "/run/secrets/x") {
		t.Error("what is no secret was taken away")
	}
	if img.Config.Env[1] != "DB_PASSWORD="+weak || img.Config.Labels["org.local.password"] != weak || img.Layers[0].Command != "RUN echo "+token {
		t.Error("the image that was handed in was changed")
	}
	// A key over several lines and a text that is too long.
	key := f.fill("{pem:EC}")
	long := scan.Image{Config: scan.Config{Env: []string{"K=" + key, "L=" + strings.Repeat("x", maxConfigText)}}}
	found = s.Config(long.Config)
	if len(found) != 2 || found[0].Detector != "private-key" || !strings.Contains(found[1].Title, "longer") {
		t.Errorf("found %v", found)
	}
	raw, err = json.Marshal(s.Redact(long))
	if err != nil {
		t.Fatal(err)
	}
	if body := strings.Split(key, "\n")[1]; strings.Contains(string(raw), body) || len(raw) > 4096 {
		t.Errorf("the key or the long text is still there, %d bytes", len(raw))
	}
}

// TestShortSecrets are replaced as words only.
func TestShortSecrets(t *testing.T) {
	if got := replace("PASS=info; information info", "info", "i***"); got != "PASS=i***; information i***" {
		t.Error(got)
	}
}

func FuzzScan(f *testing.F) {
	s := scanner(f)
	for _, d := range prepared(f).rules {
		fill := newFiller(f, d.ID)
		for _, m := range d.Matches {
			f.Add(d.CasePath, []byte(fill.fill(m)))
		}
	}
	f.Add("x", []byte("password=\"\\"))
	f.Add("x", []byte("\xff\xfea"))
	f.Add("etc/shadow", []byte("-----BEGIN PRIVATE"+" KEY----------END x-----"))
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		s.Wants(path, 0, int64(len(data)))
		for _, x := range s.Scan(path, data) {
			if x.Where != "/"+strings.TrimPrefix(path, "/") || x.Detector == "" || len(x.Fingerprint) != 16 {
				t.Fatalf("%+v", x)
			}
			if shown := strings.TrimRight(x.Masked, "*."); len(shown) > 4 {
				t.Fatalf("shows %q", x.Masked)
			}
		}
		c := scan.Config{Env: []string{string(data)}, Labels: map[string]string{path: string(data)}, History: []scan.History{{Command: string(data)}}}
		s.Config(c)
		s.Redact(scan.Image{Config: c})
	})
}

// corpus is text like that of an image: settings and sources, with names of
// secrets but none in it.
func corpus() []byte {
	var b bytes.Buffer
	for i := range 6000 {
		fmt.Fprintf(&b, "const options%d = { token: this.token, url: 'https://example.local/path/%d', authenticate: (user, password) => check(user, password) };\n", i, i)
		fmt.Fprintf(&b, "  # The quick brown fox jumps over the lazy dog, and then returns an error value of type %d when reading\n", i)
		fmt.Fprintf(&b, "server.%d.address=10.0.0.%d\nfunction handleRequest%d(request, response) { return response.status(%d); }\n", i, i%250, i, i)
	}
	return b.Bytes()
}

// BenchmarkScan takes text without secrets; BenchmarkCopy is what reading the
// same bytes costs at least, for comparison in one run.
func BenchmarkScan(b *testing.B) {
	s, text := scanner(b), corpus()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.Scan("app/x.conf", text)
	}
}

func BenchmarkCopy(b *testing.B) {
	text := corpus()
	into := make([]byte, len(text))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		copy(into, text)
	}
}

func BenchmarkWants(b *testing.B) {
	s := scanner(b)
	for b.Loop() {
		s.Wants("srv/app/node_modules/@scope/package/dist/esm/internal/index.js", 0o644, 4000)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleScanner_Scan() {
	s, err := New()
	if err != nil {
		panic(err)
	}
	text := "machine git.local login ci password " + strings.Repeat("a1B-", 5) + "\n"
	for _, x := range s.Scan("root/.netrc", []byte(text)) {
		fmt.Println(x.Detector, x.Severity, x.Where, x.Line, x.Masked)
	}
	// Output:
	// netrc high /root/.netrc 1 a1B-********
}
