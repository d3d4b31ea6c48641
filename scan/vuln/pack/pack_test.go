package pack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

// database writes a database with n advisories, of which the newest is so many
// days old.
func database(t testing.TB, n, days int) string {
	t.Helper()
	b := vuln.NewBuilder(vuln.Options{})
	b.Source(scan.Source{Name: "test", Licence: "none"})
	for i := range n {
		err := b.Add(vuln.Record{
			ID: fmt.Sprintf("CVE-2024-%d", 1000+i), Source: "test", Severity: scan.High, Modified: day.AddDate(0, 0, days-i%100),
			Affected: []vuln.Affected{{Ecosystem: "npm", Name: fmt.Sprintf("package-%x", i*2654435761%1000003), Ranges: []vuln.Range{{Fixed: fmt.Sprintf("%d.%d.%d", i%7, i%13, i%29+1)}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if _, err := b.Write(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func keyPair(t testing.TB, seed uint64) (ed25519.PrivateKey, Keys) {
	t.Helper()
	private, public, err := GenerateKey(rand.NewChaCha8([32]byte{byte(seed)}))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ParseSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, keys
}

// inProcess starts a registry whose traffic passes through meddle.
func inProcess(t testing.TB, meddle func(http.ResponseWriter, *http.Request, http.Handler)) (host string, tr *http.Transport) {
	t.Helper()
	h := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if meddle != nil {
			meddle(w, r, h)
			return
		}
		h.ServeHTTP(w, r)
	}))
	tr = &http.Transport{}
	t.Cleanup(func() { tr.CloseIdleConnections(); s.Close() })
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host, tr
}

func options(tr http.RoundTripper, keys Keys) Options {
	return Options{
		Remote: Remote{Transport: tr}, Keys: keys, Now: func() time.Time { return day.AddDate(0, 0, 30) },
		Wait: func(context.Context, time.Duration) error { return nil },
	}
}

func mustPush(t testing.TB, file, ref string, o PushOptions) Pushed {
	t.Helper()
	p, err := Push(context.Background(), file, ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sameFile(t testing.TB, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Fatalf("%s and %s differ", a, b)
	}
}

// conform runs one story against any place for artifacts: a first database, the
// same again, a newer one by delta, an older one refused, export and import.
func conform(t *testing.T, ref string, tr http.RoundTripper) {
	ctx := context.Background()
	signer, keys := keyPair(t, 1)
	one, two := database(t, 3000, 0), database(t, 3010, 7)
	place := Place{filepath.Join(t.TempDir(), "db")}
	o := options(tr, keys)

	if _, err := place.Update(ctx, ref, o); !errors.Is(err, ErrNotFound) {
		t.Fatalf("nothing there: %v", err)
	}
	if _, err := place.Status(day); !errors.Is(err, ErrNoDatabase) {
		t.Fatalf("status of nothing: %v", err)
	}
	push := PushOptions{Remote: o.Remote, Signer: signer}
	first := mustPush(t, one, ref, push)
	if again := mustPush(t, one, ref, push); again.Manifest != first.Manifest {
		t.Errorf("pushing the same twice gives %s and %s", first.Manifest, again.Manifest)
	}
	ch, err := place.Update(ctx, ref, o)
	if err != nil || !ch.Updated || ch.Delta || ch.Signed != first.KeyID || ch.DaysOld != 30 || ch.Carried == 0 {
		t.Fatalf("first update: %+v, %v", ch, err)
	}
	sameFile(t, one, ch.Path)
	if ch, err = place.Update(ctx, ref, o); err != nil || ch.Updated || ch.Carried != 0 {
		t.Fatalf("same again: %+v, %v", ch, err)
	}
	p := mustPush(t, two, ref, PushOptions{Remote: o.Remote, Signer: signer, Previous: []string{one, two}})
	if len(p.Deltas) != 2 || p.Deltas[0] == 0 || p.Deltas[1] != 0 {
		t.Fatalf("deltas: %v of %d", p.Deltas, p.Size)
	}
	if ch, err = place.Update(ctx, ref, o); err != nil || !ch.Delta || ch.Carried != p.Deltas[0] || ch.Fallback != "" {
		t.Fatalf("update by delta: %+v, %v", ch, err)
	}
	sameFile(t, two, ch.Path)
	if err := place.Verify(ctx, keys); err != nil {
		t.Fatal(err)
	}
	if _, err := Push(ctx, one, ref, push); err != nil {
		t.Fatal(err)
	}
	if _, err := place.Update(ctx, ref, o); !errors.Is(err, ErrOlder) {
		t.Fatalf("older database: %v", err)
	}
	if path, err := place.Database(); err != nil {
		t.Fatal(err)
	} else {
		sameFile(t, two, path)
	}
	o.Force = true
	if ch, err = place.Update(ctx, ref, o); err != nil || !ch.Updated {
		t.Fatalf("older by force: %+v, %v", ch, err)
	}
	sameFile(t, one, ch.Path)
}

func TestRegistry(t *testing.T) {
	host, tr := inProcess(t, nil)
	conform(t, host+"/team/advisories:v1", tr)
}

func TestLayout(t *testing.T) {
	conform(t, "oci:"+filepath.Join(t.TempDir(), "layout")+":v1", nil)
}

func TestSignatures(t *testing.T) {
	ctx := context.Background()
	signer, keys := keyPair(t, 1)
	_, others := keyPair(t, 2)
	file := database(t, 10, 0)
	for name, c := range map[string]struct {
		signer   ed25519.PrivateKey
		keys     Keys
		unsigned bool
		want     error
		says     string
	}{
		"right key":          {signer, keys, false, nil, ""},
		"one of two keys":    {signer, append(others[:1:1], keys...), false, nil, ""},
		"wrong key":          {signer, others, false, ErrUnsigned, "none of the keys given"},
		"no key":             {signer, nil, false, ErrUnsigned, KeyEnv},
		"unsigned":           {nil, keys, false, ErrUnsigned, "no signature"},
		"unsigned, allowed":  {nil, keys, true, nil, ""},
		"wrong key, allowed": {signer, others, true, nil, ""},
	} {
		ref := "oci:" + filepath.Join(t.TempDir(), "l")
		mustPush(t, file, ref, PushOptions{Signer: c.signer})
		o := options(nil, c.keys)
		o.Unsigned = c.unsigned
		place := Place{t.TempDir()}
		ch, err := place.Update(ctx, ref, o)
		if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if trusted := name == "right key" || name == "one of two keys"; (ch.Signed != "") != trusted {
			t.Errorf("%s: signed by %q", name, ch.Signed)
		}
		if c.want != nil {
			if _, err := place.Database(); !errors.Is(err, ErrNoDatabase) {
				t.Errorf("%s: a database is in force: %v", name, err)
			}
		}
	}
}

// TestEnvelope: a changed statement, type or signature does not verify.
func TestEnvelope(t *testing.T) {
	signer, keys := keyPair(t, 1)
	s := Statement{Format: 1, Digest: "sha256:" + strings.Repeat("0", 64), Size: 1, Built: day, Data: day}
	env, err := seal(s, signer)
	if err != nil {
		t.Fatal(err)
	}
	got, id, err := open(env, keys, false)
	if err != nil || got != s || id != KeyID(keys[0]) {
		t.Fatalf("%+v %q %v", got, id, err)
	}
	for i := range env {
		for _, bit := range []byte{1, 0x20} {
			bad := bytes.Clone(env)
			bad[i] ^= bit
			if s2, id, err := open(bad, keys, false); err == nil && (s2 != s || id != KeyID(keys[0])) {
				t.Fatalf("byte %d changed: %+v by %q", i, s2, id)
			}
		}
	}
	for _, s := range []Statement{{}, {Format: 2, Digest: s.Digest, Size: 1}, {Format: 1, Digest: "sha256:../../x", Size: 1}, {Format: 1, Digest: s.Digest}} {
		env, err := seal(s, signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := open(env, keys, false); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestKeys(t *testing.T) {
	private, public, err := GenerateKey(rand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, append(bytes.Clone(public), public...), 0o644); err != nil {
		t.Fatal(err)
	}
	env := func(v string) func(string) string {
		return func(k string) string {
			if k == KeyEnv {
				return v
			}
			return ""
		}
	}
	for _, c := range []struct {
		env   string
		files []string
		n     int
	}{{"", nil, 0}, {string(public), nil, 1}, {file, nil, 2}, {string(public), []string{file}, 3}} {
		if k, err := LoadKeys(env(c.env), c.files...); err != nil || len(k) != c.n {
			t.Errorf("%d keys, %v; want %d", len(k), err, c.n)
		}
	}
	if _, err := LoadKeys(env("/nowhere/key.pem")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := ParseKeys(private); err == nil {
		t.Error("a private key was taken for a public one")
	}
	if _, err := ParseSigner(public); err == nil {
		t.Error("a public key was taken for a private one")
	}
	for _, text := range []string{"", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%q was taken for a key", text)
		}
	}
	if _, _, err := GenerateKey(bytes.NewReader(nil)); err == nil {
		t.Error("a key was made without randomness")
	}
}

// TestResume: an update that breaks off keeps what it has; the next one asks
// for the rest only.
func TestResume(t *testing.T) {
	broken, whole := true, false
	var ranges []string
	host, tr := inProcess(t, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			h.ServeHTTP(w, r)
			return
		}
		ranges = append(ranges, r.Header.Get("Range"))
		rec := httptest.NewRecorder()
		plain := r.Clone(r.Context())
		plain.Header.Del("Range")
		h.ServeHTTP(rec, plain)
		body := rec.Body.Bytes()
		switch {
		case rec.Code != http.StatusOK:
			w.WriteHeader(rec.Code)
		case broken && len(body) > 10_000:
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body[:len(body)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case whole:
			_, _ = w.Write(body)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		}
	})
	signer, keys := keyPair(t, 1)
	file := database(t, 8000, 0)
	ref := host + "/db:v1"
	o := options(tr, keys)
	pushed := mustPush(t, file, ref, PushOptions{Remote: o.Remote, Signer: signer})
	place := Place{t.TempDir()}
	o.Wait = func(context.Context, time.Duration) error { return errors.New("out of patience") }
	interrupt := func() {
		t.Helper()
		broken = true
		if _, err := place.Update(context.Background(), ref, o); err == nil {
			t.Fatal("a broken download was taken for a database")
		}
		broken = false
	}
	interrupt()
	ch, err := place.Update(context.Background(), ref, o)
	if err != nil || ch.Resumed == 0 || ch.Resumed+ch.Carried != pushed.Size {
		t.Fatalf("%+v, %v; %d bytes in all", ch, err, pushed.Size)
	}
	if want := fmt.Sprintf("bytes=%d-", ch.Resumed); ranges[len(ranges)-1] != want {
		t.Errorf("asked for %q, want %s", ranges, want)
	}
	sameFile(t, file, ch.Path)
	if left, _ := filepath.Glob(filepath.Join(place.Dir, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// A registry that cannot give a part gives all of it.
	place, whole = Place{t.TempDir()}, true
	interrupt()
	if ch, err = place.Update(context.Background(), ref, o); err != nil || ch.Resumed != 0 || ch.Carried != pushed.Size {
		t.Fatalf("without ranges: %+v, %v", ch, err)
	}
	sameFile(t, file, ch.Path)
}

// TestMeddled: whatever a registry sends instead of the right bytes, the old
// database goes on being in force.
func TestMeddled(t *testing.T) {
	signer, keys := keyPair(t, 1)
	one, two := database(t, 3000, 0), database(t, 3010, 7)
	for name, bend := range map[string]func([]byte) []byte{
		"a bit":     func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut off":   func(b []byte) []byte { return b[:len(b)-1] },
		"too much":  func(b []byte) []byte { return append(b, 0) },
		"nothing":   func([]byte) []byte { return nil },
		"all zeros": func(b []byte) []byte { return make([]byte, len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			meddling := false
			host, tr := inProcess(t, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
				if !meddling || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
					h.ServeHTTP(w, r)
					return
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				body := rec.Body.Bytes()
				if rec.Code == http.StatusOK && len(body) > 1000 {
					body = bend(body)
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(body)
			})
			o := options(tr, keys)
			ref := host + "/db:v1"
			place := Place{t.TempDir()}
			mustPush(t, one, ref, PushOptions{Remote: o.Remote, Signer: signer})
			if _, err := place.Update(context.Background(), ref, o); err != nil {
				t.Fatal(err)
			}
			mustPush(t, two, ref, PushOptions{Remote: o.Remote, Signer: signer, Previous: []string{one}})
			meddling = true
			if ch, err := place.Update(context.Background(), ref, o); err == nil {
				t.Fatalf("taken: %+v", ch)
			}
			path, err := place.Database()
			if err != nil {
				t.Fatal(err)
			}
			sameFile(t, one, path)
			meddling = false
			ch, err := place.Update(context.Background(), ref, o)
			if err != nil || !ch.Updated {
				t.Fatalf("afterwards: %+v, %v", ch, err)
			}
			sameFile(t, two, ch.Path)
		})
	}
}

// TestDeltaFallsBack: a delta that does not apply costs a full download, not
// the update.
func TestDeltaFallsBack(t *testing.T) {
	signer, keys := keyPair(t, 1)
	one, two := database(t, 3000, 0), database(t, 3010, 7)
	ref := "oci:" + filepath.Join(t.TempDir(), "l")
	place := Place{t.TempDir()}
	o := options(nil, keys)
	mustPush(t, one, ref, PushOptions{Signer: signer})
	ch, err := place.Update(context.Background(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(ch.Path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1 // a disk that lies
	if err := os.WriteFile(ch.Path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := place.Verify(context.Background(), keys); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged database verified: %v", err)
	}
	mustPush(t, two, ref, PushOptions{Signer: signer, Previous: []string{one}})
	ch, err = place.Update(context.Background(), ref, o)
	if err != nil || ch.Delta || ch.Fallback == "" {
		t.Fatalf("%+v, %v", ch, err)
	}
	sameFile(t, two, ch.Path)
}

func TestExportImport(t *testing.T) {
	ctx := context.Background()
	signer, keys := keyPair(t, 1)
	file := database(t, 500, 0)
	ref := "oci:" + filepath.Join(t.TempDir(), "l")
	mustPush(t, file, ref, PushOptions{Signer: signer})
	from, to := Place{t.TempDir()}, Place{t.TempDir()}
	o := options(nil, keys)
	if err := from.Export(ctx, filepath.Join(t.TempDir(), "x")); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("export of nothing: %v", err)
	}
	if _, err := from.Update(ctx, ref, o); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "advisories.tar")
	if err := from.Export(ctx, t.TempDir()); err == nil {
		t.Error("a folder was taken for a file")
	}
	if err := from.Export(ctx, out); err != nil {
		t.Fatal(err)
	}
	ch, err := to.Import(ctx, out, o)
	if err != nil || !ch.Updated || ch.Signed == "" {
		t.Fatalf("%+v, %v", ch, err)
	}
	sameFile(t, file, ch.Path)
	if err := to.Verify(ctx, keys); err != nil {
		t.Error(err)
	}
	if ch, err := to.Import(ctx, out, o); err != nil || ch.Updated {
		t.Errorf("again: %+v, %v", ch, err)
	}
	_, others := keyPair(t, 2)
	if err := to.Verify(ctx, others); !errors.Is(err, ErrUnsigned) {
		t.Errorf("verified by a key that did not sign: %v", err)
	}
	// Bare databases have no signature.
	if _, err := to.Import(ctx, database(t, 600, 3), o); !errors.Is(err, ErrUnsigned) {
		t.Errorf("bare database: %v", err)
	}
	o.Unsigned = true
	newer := database(t, 600, 3)
	if ch, err := to.Import(ctx, newer, o); err != nil || !ch.Updated || ch.Signed != "" {
		t.Errorf("bare database, allowed: %+v, %v", ch, err)
	}
	if _, err := to.Import(ctx, out, o); !errors.Is(err, ErrOlder) {
		t.Errorf("older export: %v", err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut off": b[:len(b)/2], "no database": b[:1536], "empty": nil, "text": []byte("what is this?"),
		"changed": append(append(bytes.Clone(b[:len(b)-3000]), 1, 2, 3, 4), b[len(b)-2996:]...),
	} {
		path := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		place := Place{t.TempDir()}
		if ch, err := place.Import(ctx, path, o); err == nil {
			t.Errorf("%s: taken: %+v", name, ch)
		}
		if left, _ := filepath.Glob(filepath.Join(place.Dir, "sha256*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

func TestMirror(t *testing.T) {
	ctx := context.Background()
	signer, keys := keyPair(t, 1)
	one, two := database(t, 3000, 0), database(t, 3010, 7)
	host, tr := inProcess(t, nil)
	o := options(tr, keys)
	src := host + "/public/db:v1"
	pushed := mustPush(t, two, src, PushOptions{Remote: o.Remote, Signer: signer, Previous: []string{one}})
	dir := "oci:" + filepath.Join(t.TempDir(), "usb-stick") + ":v1"
	for _, hop := range [][2]string{{src, dir}, {dir, host + "/inside/db:stable"}} {
		d, err := Mirror(ctx, hop[0], hop[1], o.Remote)
		if err != nil || d != pushed.Manifest {
			t.Fatalf("%v: %s, %v; want %s", hop, d, err, pushed.Manifest)
		}
	}
	for _, ref := range []string{host + "/inside/db:stable", host + "/inside/db@" + pushed.Manifest, strings.TrimSuffix(dir, ":v1") + "@" + pushed.Manifest} {
		place := Place{t.TempDir()}
		ch, err := place.Update(ctx, ref, o)
		if err != nil || ch.Signed == "" {
			t.Fatalf("%s: %+v, %v", ref, ch, err)
		}
		sameFile(t, two, ch.Path)
	}
	if _, err := Mirror(ctx, host+"/nowhere:v1", dir, o.Remote); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing to mirror: %v", err)
	}
}

func TestLock(t *testing.T) {
	place := Place{t.TempDir()}
	unlock, err := place.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := place.Update(ctx, "oci:/nowhere", Options{}); !errors.Is(err, ErrBusy) {
		t.Errorf("while another holds it: %v", err)
	}
	unlock()
	if _, err := place.Update(context.Background(), "oci:/nowhere", Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestKeepsTwo: the database before the one in force stays, older ones go.
func TestKeepsTwo(t *testing.T) {
	place := Place{t.TempDir()}
	o := options(nil, nil)
	o.Unsigned = true
	for i := range 4 {
		if _, err := place.Import(context.Background(), database(t, 10+i, i), o); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := filepath.Glob(filepath.Join(place.Dir, "*.db")); len(got) != 2 {
		t.Errorf("kept %v", got)
	}
}

func TestPointer(t *testing.T) {
	place := Place{t.TempDir()}
	for text, want := range map[string]error{
		"": ErrCorrupt, "{}": ErrCorrupt, `{"statement":{"format":1,"digest":"sha256:../../../etc/passwd","size":3}}`: ErrCorrupt,
		`{"statement":{"format":1,"digest":"sha256:` + strings.Repeat("0", 64) + `","size":3}}`: ErrNoDatabase,
	} {
		if err := os.WriteFile(place.pointer(), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := place.Database(); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

func TestDefaultPlace(t *testing.T) {
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/h", "/x/gabion/db"}, {"", "/h", "/h/.cache/gabion/db"}, {"relative", "/h", "/h/.cache/gabion/db"}, {"", "", ""},
	} {
		p, err := DefaultPlace(func(k string) string { return map[string]string{"XDG_CACHE_HOME": c.xdg, "HOME": c.home}[k] })
		if p.Dir != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, p.Dir, err)
		}
	}
}

func TestReferences(t *testing.T) {
	for _, ref := range []string{"oci:", "oci:dir@sha256:123", "oci::tag", "UPPER/case:x", "a b"} {
		if _, err := openRepo(ref, Remote{}); err == nil {
			t.Errorf("%q was taken", ref)
		}
	}
	l, err := openLayout("/a:b/c")
	if err != nil || l.(*layout).dir != "/a:b/c" || l.(*layout).tag != "latest" {
		t.Errorf("%+v, %v", l, err)
	}
}
