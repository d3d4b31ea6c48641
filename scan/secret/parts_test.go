package secret

import (
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/content"
)

func testWords(t *testing.T) *words {
	t.Helper()
	return prepared(t).words
}

func TestPlaceholders(t *testing.T) {
	w := testWords(t)
	for _, c := range []struct {
		value          string
		exact, generic bool // what it is to exact and to generic detectors
	}{
		{"", true, true},
		{"changeme-please", true, true},
		{"SomeEXAMPLEkey", true, true},
		{"password", true, true},
		{"aaaaaaaaaaaaaaaa", true, true},
		{"aaaa", true, true},
		{"x4none9s8d7f6g", false, true}, // by chance in random characters
		{"${NAME}", true, true},
		{"$NAME", true, true},
		{"pa$Sword9", false, false},
		{"x$(cat file)", true, true},
		{"{{ .Values.x }}", true, true},
		{"%NAME%", false, true},
		{"/run/secrets/x9", false, true},
		{"/x9+a8s7d6f=", false, false},
		{"../secret9", false, true},
		{"vault.env:NAME9", false, true},
		{"https://a.local/9", false, true},
		{"q8Zr2Kd9", false, false},
	} {
		if got := w.placeholder([]byte(c.value), false); got != c.exact {
			t.Errorf("%q is a placeholder to exact detectors: %v", c.value, got)
		}
		if got := w.placeholder([]byte(c.value), true); got != c.generic {
			t.Errorf("%q is a placeholder to generic detectors: %v", c.value, got)
		}
	}
}

func TestValidators(t *testing.T) {
	w := testWords(t)
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"random", "q8Zr2Kd9vB4nXw1s", true},
		{"random", strings.Repeat("0f1e", 8), true},
		{"random", "my-application-name-2", false},
		{"random", "applicationSecretForTheWeb1", false},
		{"random", "config.auth.tokenName", false},
		{"random", "getToken(user1)", false},
		{"random", "onlyletters", false},
		{"password", "br1ckwall!", true},
		{"password", "required", false},
		{"password", "this.value1", false},
		{"password", "CamelCase", false},
		{"word", "weak", true},
		{"word", "secret", false},
		{"word", "12345", false},
		{"word", "481516", true},
		{"word", "a\nb9", false},
		{"base64", "aGVsbG8=", true},
		{"base64", "aGVsbG8-_", false},
		{"basic", "dXNlcjpxOFpyMktkOQ==", true}, // user and random characters
		{"basic", "dXNlcg==", false},
		{"basic", "dXNlcjpwYXNzd29yZA==", false}, // the word
		{"crc", strings.Repeat("x", 40), false},
		{"crc", "short", false},
	} {
		value := c.value
		valid := validators[c.name]
		if valid == nil {
			t.Fatalf("no validator %s", c.name)
		}
		if got := valid(candidate{text: []byte(value), end: len(value), words: w}); got != c.want {
			t.Errorf("%s of %q is %v", c.name, value, got)
		}
	}
}

// TestValidatorsAreUsed: none is left over.
func TestValidatorsAreUsed(t *testing.T) {
	used := map[string]bool{"": true}
	for _, d := range detectors(t) {
		used[d.Validator] = true
	}
	for name := range validators {
		if !used[name] {
			t.Errorf("no detector uses the validator %q", name)
		}
	}
}

func TestURLPassword(t *testing.T) {
	w := testWords(t)
	for url, want := range map[string]bool{
		"db://app:q8Zr2Kd9@h": true, "db://app:app@h": false, "db://app:8080@h": false, "db://app:password@h": false, "db://app:%s@h": false,
	} {
		start := strings.LastIndexByte(url, ':') + 1
		c := candidate{text: []byte(url), start: start, end: strings.IndexByte(url, '@'), words: w}
		if got := urlPassword(c); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}

// TestPEMForms: a key is found however a file of another kind holds it.
func TestPEMForms(t *testing.T) {
	f := newFiller(t, "pem")
	key := f.pem("EC")
	lines := strings.Split(strings.TrimSpace(key), "\n")
	for name, text := range map[string]string{
		"alone":        key,
		"windows":      strings.ReplaceAll(key, "\n", "\r\n"),
		"yaml":         "key: |\n    " + strings.Join(lines, "\n    ") + "\n",
		"json":         `{"key": "` + strings.Join(lines, `\n`) + `"}`,
		"json twice":   `"{\"key\": \"` + strings.Join(lines, `\\n`) + `\"}"`,
		"concatenated": `"` + strings.Join(lines, `\n" +`+"\n"+`  "`) + `\n";`,
		"array":        `["` + strings.Join(lines, "\",\n \"") + `"]`,
	} {
		at := strings.Index(text, "-----BEGIN")
		k, ok := pemAt([]byte(text), at)
		if !ok || k.encrypted || len(k.body) < 100 {
			t.Errorf("%s: not read", name)
		}
		if found := scanner(t).Scan("app/x.conf", []byte(text)); len(found) != 1 || found[0].Detector != "private-key" {
			t.Errorf("%s: %v", name, ids(found))
		}
	}
	for name, text := range map[string]string{
		"no end": lines[0] + "\n" + lines[1], "nothing in it": lines[0] + "\n" + lines[len(lines)-1], "not base64": lines[0] + "\n???\n" + lines[len(lines)-1],
		"no DER": strings.Replace(key, lines[1], strings.Repeat("A", 64), 1),
	} {
		if _, ok := pemAt([]byte(text), 0); ok {
			t.Errorf("%s: read", name)
		}
	}
}

func TestGlobs(t *testing.T) {
	g := newGlobs([]string{".env", "*.pem", "id_*_sk", "etc/shadow", ".ssh/", "config/credentials/*.key", "*.tfstate.backup"})
	for path, want := range map[string]bool{
		"a/.env": true, "a/x.env": false, "a/x.pem": true, "id_ed25519_sk": true, "etc/shadow": true, "x/etc/shadow": true, "myetc/shadow": false,
		".ssh/config": true, "root/.ssh/config": true, "root/x.ssh/config": false, "app/config/credentials/production.key": true,
		"config/credentials/production.key": true, "credentials/production.key": false, "a/b.tfstate.backup": true,
	} {
		base, ext := split(path)
		if got := g.match(path, base, ext); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestDirs(t *testing.T) {
	d := newDirs([]content.Place{{Paths: []string{"usr/share/doc/", "**/node_modules/", "**/spec/fixtures/", "*.sample"}}})
	for path, want := range map[string]bool{
		"usr/share/doc/x": true, "opt/usr/share/doc/x": false, "usr/share/docs/x": false, "node_modules/x": true, "a/node_modules/b/c": true,
		"a/my_node_modules/b": false, "a/spec/fixtures/b": true, "spec/fixtures/b": true, "a/fixtures/b": false, "a/x.sample": true, "node_modules": false,
	} {
		base, ext := split(path)
		if got := d.match(path, base, ext); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	good := content.Detector{ID: "x", Severity: "high", Keywords: []string{"abcd"}, Pattern: "abcd"}
	for name, change := range map[string]func(*content.Detector){
		"severity": func(d *content.Detector) { d.Severity = "bad" }, "validator": func(d *content.Detector) { d.Validator = "nonesuch" },
		"keyword": func(d *content.Detector) { d.Keywords = []string{"abc"} }, "no keywords": func(d *content.Detector) { d.Keywords = nil },
		"lines without files": func(d *content.Detector) { d.Keywords, d.Lines = nil, true },
	} {
		d := good
		change(&d)
		if _, err := compile(&content.Secrets{Detectors: []content.Detector{d}}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := compile(&content.Secrets{Detectors: make([]content.Detector, maxRules+1)}); err == nil {
		t.Error("too many detectors were taken")
	}
}
