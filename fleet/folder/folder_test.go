package folder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

const web = `# the shop's front
apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}} # one of many
  mode: Monitor # for now
  process: {drift: Deny}
`

const db = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  process: {drift: Deny}
`

func open(t *testing.T) (*Folder, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := New(Config{Dir: filepath.Join(dir, "policies"), LastGood: filepath.Join(dir, "good"), Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Dir()
}

func put(t *testing.T, dir, name, data string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, f *Folder) State {
	t.Helper()
	st, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func ids(st State) string {
	var out []string
	for _, d := range st.Set.Documents() {
		out = append(out, v1alpha1.ID(d.Object))
	}
	return strings.Join(out, " ")
}

func TestABrokenFileKeepsItsLastGoodContent(t *testing.T) {
	f, dir := open(t)
	put(t, dir, "web.yaml", web)
	put(t, dir, ".hidden.yaml", "nonsense")
	put(t, dir, "notes.txt", "nonsense")
	if st := read(t, f); ids(st) != "WorkloadPolicy/shop/web" || len(st.Problems) != 0 {
		t.Fatalf("%s, %v", ids(st), st.Problems)
	}
	put(t, dir, "web.yaml", strings.Replace(web, "drift", "drfit", 1))
	put(t, dir, "db.yaml", db)
	st := read(t, f)
	if ids(st) != "WorkloadPolicy/shop/db WorkloadPolicy/shop/web" || len(st.Kept) != 1 || len(st.Problems) != 1 {
		t.Fatalf("ids %s, kept %v, problems %v", ids(st), st.Kept, st.Problems)
	}
	if msg := st.Problems[0].Error(); !strings.Contains(msg, "web.yaml:8:") || !strings.Contains(msg, "drfit") {
		t.Errorf("problem does not say where: %s", msg)
	}
	// The same after a restart: the last good content is on disk.
	again, err := New(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if st := read(t, again); ids(st) != "WorkloadPolicy/shop/db WorkloadPolicy/shop/web" {
		t.Errorf("after a restart: %s", ids(st))
	}
	// Deleting is on purpose.
	if err := os.Remove(filepath.Join(dir, "web.yaml")); err != nil {
		t.Fatal(err)
	}
	if st := read(t, f); ids(st) != "WorkloadPolicy/shop/db" {
		t.Errorf("after a deletion: %s", ids(st))
	}
	put(t, dir, "web.yaml", "kind: [")
	if st := read(t, f); ids(st) != "WorkloadPolicy/shop/db" || len(st.Kept) != 0 || len(st.Problems) == 0 {
		t.Errorf("a new file that was never whole: ids %s, kept %v", ids(st), st.Kept)
	}
}

func TestFileTooLarge(t *testing.T) {
	f, dir := open(t)
	put(t, dir, "big.yaml", web+"# "+strings.Repeat("x", 11<<20))
	st := read(t, f)
	if len(st.Problems) == 0 || !strings.Contains(st.Problems[0].Error(), "big.yaml") {
		t.Errorf("problems %v", st.Problems)
	}
	if ids(st) != "" {
		t.Errorf("a refused file was loaded in part: %s", ids(st))
	}
}

func TestRunTellsOfEachChangeOnce(t *testing.T) {
	f, dir := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	states := make(chan State, 10)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, func(s State) { states <- s }, func(error) {}) }()
	next := func() State {
		select {
		case s := <-states:
			return s
		case <-time.After(5 * time.Second):
			t.Fatal("no state")
			return State{}
		}
	}
	if s := next(); ids(s) != "" {
		t.Errorf("first state %q", ids(s))
	}
	put(t, dir, "web.yaml", web)
	for s := next(); ids(s) != "WorkloadPolicy/shop/web"; s = next() {
	}
	put(t, dir, "web.yaml", web) // touched, not changed
	put(t, dir, "db.yaml", db)
	for s := next(); ids(s) != "WorkloadPolicy/shop/db WorkloadPolicy/shop/web"; s = next() {
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(states) != 0 {
		t.Errorf("%d more states for nothing", len(states))
	}
}

func TestEditsKeepComments(t *testing.T) {
	f, dir := open(t)
	put(t, dir, "all.yaml", web+"---\n"+db)
	if err := f.SetMode("WorkloadPolicy/shop/web", "Protect"); err != nil {
		t.Fatal(err)
	}
	if err := f.SetMode("WorkloadPolicy/shop/db", "Learn"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "all.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(web, "mode: Monitor #", "mode: Protect #", 1) + "---\n" +
		strings.Replace(db, "spec:\n", "spec:\n  mode: Learn\n", 1)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if doc, file, line, err := f.Source("WorkloadPolicy/shop/db"); err != nil || file != "all.yaml" || line != 10 || !bytes.HasPrefix(doc, []byte("apiVersion")) {
		t.Errorf("source %s:%d %v", file, line, err)
	}
	if err := f.Delete("WorkloadPolicy/shop/web"); err != nil {
		t.Fatal(err)
	}
	if st := read(t, f); ids(st) != "WorkloadPolicy/shop/db" || len(st.Problems) > 0 {
		t.Errorf("after delete: %s %v", ids(st), st.Problems)
	}
	if err := f.Delete("WorkloadPolicy/shop/db"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "all.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty file stays: %v", err)
	}
	if err := f.Delete("WorkloadPolicy/shop/db"); !errors.Is(err, ErrNoDocument) {
		t.Errorf("deleting what is not there: %v", err)
	}
	if err := f.SetMode("WorkloadPolicy/shop/db", "Learn"); !errors.Is(err, ErrNoDocument) {
		t.Errorf("mode of what is not there: %v", err)
	}
}

func TestPut(t *testing.T) {
	f, dir := open(t)
	put(t, dir, "all.yaml", web+"---\n"+db)
	got, err := f.Put([]byte(strings.Replace(web, "drift: Deny", "deny: [{class: shell}]", 1) + "---\n" + strings.ReplaceAll(db, "db", "cache")))
	if err != nil || strings.Join(got, " ") != "WorkloadPolicy/shop/web WorkloadPolicy/shop/cache" {
		t.Fatalf("%v, %v", got, err)
	}
	st := read(t, f)
	if ids(st) != "WorkloadPolicy/shop/cache WorkloadPolicy/shop/db WorkloadPolicy/shop/web" || len(st.Problems) > 0 {
		t.Errorf("%s %v", ids(st), st.Problems)
	}
	data, _ := os.ReadFile(filepath.Join(dir, "all.yaml"))
	if !strings.Contains(string(data), "class: shell") || !strings.Contains(string(data), "name: db") {
		t.Errorf("not replaced in place:\n%s", data)
	}
	var refused *Refused
	if _, err := f.Put([]byte(strings.Replace(web, "Monitor", "Guess", 1))); !errors.As(err, &refused) {
		t.Errorf("a document that is not valid: %v", err)
	}
	if again := read(t, f); again.Fingerprint != st.Fingerprint {
		t.Error("a refused Put changed the folder")
	}
}

func FuzzSetMode(f *testing.F) {
	f.Add([]byte(web))
	f.Add([]byte(db))
	f.Add([]byte("spec:\n  a: b"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		out, err := setMode(doc, "Protect")
		if err == nil && !bytes.Contains(out, []byte("Protect")) {
			t.Errorf("no mode in %q", out)
		}
	})
}
