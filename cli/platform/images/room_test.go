package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/registry"
	"github.com/gabion-dev/gabion/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake scans what it is told to hold: each image has one package, and the
// database says which of them are vulnerable.
type fake struct {
	mu       sync.Mutex
	database string
	version  string
	bad      map[string]scan.Severity // package -> severity
	kept     map[string]*registry.Kept
	reads    int
	err      error
}

func (f *fake) Refresh() error { return nil }
func (f *fake) Database() scan.Database {
	f.mu.Lock()
	defer f.mu.Unlock()
	return scan.Database{Digest: f.database}
}
func (f *fake) Version() string { return f.version }
func (f *fake) Read(_ context.Context, job registry.Job) (*registry.Kept, error) {
	return f.get(job.Digest)
}
func (f *fake) Local(_ context.Context, what console.ImageToScan) (*registry.Kept, error) {
	return f.get(what.Reference + what.Container)
}
func (f *fake) get(key string) (*registry.Kept, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if k := f.kept[key]; k != nil && f.err == nil {
		return k, nil
	}
	return nil, cmpErr(f.err)
}
func cmpErr(err error) error {
	if err != nil {
		return err
	}
	return errors.New("no such image")
}
func (f *fake) Assemble(k *registry.Kept, d decide.Inputs, now time.Time) (*scan.Report, error) {
	f.mu.Lock()
	r := &scan.Report{Image: k.Image, Release: k.Inventory.Release, Packages: slices.Clone(k.Inventory.Packages), Gaps: slices.Clone(k.Inventory.Gaps),
		Secrets: slices.Clone(k.Inventory.Secrets), Database: scan.Database{Digest: f.database}}
	for i, p := range r.Packages {
		if sev, ok := f.bad[p.Name]; ok {
			r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: "CVE-2026-" + p.Name, Severity: sev}, Package: i, State: scan.Open, Fix: "2"})
		}
	}
	f.mu.Unlock()
	decide.Apply(r, d, now)
	r.Plan = decide.Plan(r)
	return r, nil
}

func digestOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func imageOf(name string, packages ...string) *registry.Kept {
	k := &registry.Kept{Image: scan.Image{Name: name, Kind: scan.Registry, Digest: digestOf(name), ConfigID: digestOf("config of " + name),
		Layers: []scan.Layer{{Digest: digestOf("layer of " + name), Size: 1000}}}}
	for _, p := range packages {
		k.Inventory.Packages = append(k.Inventory.Packages, scan.Package{Name: p, Version: "1", Ecosystem: "npm", Path: "/app/" + p, Programs: []string{"/usr/bin/" + p}})
	}
	k.Inventory.Files = []scan.File{{Path: "/usr/bin/app", Digest: "sha256:aa"}}
	return k
}

// bench is a room over a memory store that a test drives by hand.
type bench struct {
	*Room
	t          *testing.T
	store      store.Store
	scanner    *fake
	now        time.Time
	containers []workload.Container
	seen       map[workload.Ref]Seen
	exceptions []v1alpha1.Exception
	mu         sync.Mutex
	events     []event.Event
}

func newBench(t *testing.T, cfg Config, s store.Store) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), seen: map[workload.Ref]Seen{},
		scanner: &fake{database: "sha256:d1", version: "1", bad: map[string]scan.Severity{}, kept: map[string]*registry.Kept{}}}
	if s == nil {
		s = store.NewMemory(func() time.Time { return b.now })
	}
	b.store = s
	b.open(cfg)
	return b
}

func (b *bench) open(cfg Config) {
	b.t.Helper()
	cfg.Node, cfg.Every = "n1", time.Second
	r, err := Open(b.t.Context(), cfg, Deps{
		Store: b.store, Scanner: b.scanner, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.now },
		Record: func(e event.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
		Running: func() []workload.Container { return b.containers },
		Seen:    func(ref workload.Ref) Seen { return b.seen[ref] }, Exceptions: func() []v1alpha1.Exception { return b.exceptions },
		Getenv:   func(name string) string { return map[string]string{"HOOK": strings.Repeat("s", 20)}[name] },
		ReadFile: func(name string) ([]byte, error) { return nil, fmt.Errorf("read %s: none", name) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Room = r
}

// add keeps an image as a sweep of target does.
func (b *bench) add(target, name string, k *registry.Kept) {
	b.t.Helper()
	var targets []string
	if target != "" {
		targets = []string{target}
	}
	rep, err := b.assemble(k, targets)
	if err != nil {
		b.t.Fatal(err)
	}
	rep.Image.Tags = []string{name}
	if err := (found{b.Room, target}).Put(b.t.Context(), rep, k); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) rejudge() registry.RematchSummary {
	b.t.Helper()
	b.now = b.now.Add(time.Minute)
	sum, err := b.rematch(b.t.Context())
	if err != nil || len(sum.Failed) > 0 {
		b.t.Fatalf("rematch: %v %v", err, sum.Failed)
	}
	return sum
}

func (b *bench) one() console.Image {
	b.t.Helper()
	list, err := b.Images(b.t.Context())
	if err != nil || len(list) != 1 {
		b.t.Fatalf("images: %d, %v", len(list), err)
	}
	return list[0]
}

func (b *bench) kinds() []event.Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []event.Kind
	for _, e := range b.events {
		out = append(out, e.Kind)
	}
	b.events = nil
	return out
}

func scanTarget(name string, failOn ...string) *v1alpha1.ScanTarget {
	return &v1alpha1.ScanTarget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ScanTargetSpec{Registry: "registry.example", Catalog: &v1alpha1.CatalogSpec{}, FailOn: failOn}}
}

func TestJudgedAgainWhenWhatItRestsOnChanges(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.add("shop", "registry.example/web:1", imageOf("web", "openssl", "zlib"))
	if got := b.one(); got.Open.Sum() != 0 || !got.Complete || got.Packages != 2 || !slices.Equal(got.Names, []string{"registry.example/web:1"}) {
		t.Fatalf("first: %+v", got)
	}
	if got := b.kinds(); len(got) != 0 {
		t.Errorf("events for an image without findings: %v", got)
	}
	if sum := b.rejudge(); sum.Matched != 0 || sum.Current != 1 {
		t.Errorf("nothing changed: %+v", sum)
	}

	b.scanner.database, b.scanner.bad = "sha256:d2", map[string]scan.Severity{"openssl": scan.Critical}
	if sum := b.rejudge(); sum.Matched != 1 {
		t.Errorf("a new database: %+v", sum)
	}
	if got := b.one(); got.Open.Critical != 1 || got.Fixable != 1 || got.Database.Digest != "sha256:d2" || got.Priority == 0 {
		t.Errorf("with the new database: %+v", got)
	}
	if got := b.kinds(); !slices.Equal(got, []event.Kind{event.ImageFindings}) {
		t.Errorf("events: %v", got)
	}
	if b.scanner.reads != 0 {
		t.Errorf("the image was read %d times", b.scanner.reads)
	}

	b.SetTargets([]*v1alpha1.ScanTarget{scanTarget("shop", "high")})
	b.rejudge()
	if got := b.one(); got.Violations != 1 {
		t.Errorf("beyond failOn: %+v", got)
	}
	if got := b.kinds(); !slices.Equal(got, []event.Kind{event.ImageViolation}) {
		t.Errorf("events: %v", got)
	}
	b.rejudge()
	if got := b.kinds(); len(got) != 0 {
		t.Errorf("told twice: %v", got)
	}

	b.exceptions = []v1alpha1.Exception{{ObjectMeta: metav1.ObjectMeta{Name: "later"}, Spec: v1alpha1.ExceptionSpec{
		Images: []string{"**"}, Owner: "team", Reason: "not reached", ExpiresAt: metav1.NewTime(b.now.Add(time.Hour)),
		Rules: v1alpha1.ExceptionRules{Vulnerabilities: []v1alpha1.VulnerabilityRule{{ID: "CVE-2026-openssl"}}},
	}}}
	b.rejudge()
	if got := b.one(); got.Open.Sum() != 0 || got.Violations != 0 {
		t.Errorf("with an exception: %+v", got)
	}
	settled, err := b.ImageFindings(t.Context(), digestOf("web"))
	if err != nil || len(settled) != 1 || !strings.Contains(settled[0].Decision, "later") {
		t.Errorf("findings %+v, %v", settled, err)
	}
	b.now = b.now.Add(time.Hour)
	b.rejudge()
	if got := b.one(); got.Open.Critical != 1 {
		t.Errorf("after the exception's end: %+v", got)
	}
}

func TestWhatRunsIsUsed(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.scanner.bad = map[string]scan.Severity{"openssl": scan.High}
	b.add("shop", "registry.example/web:1", imageOf("web", "openssl"))
	ref := workload.Ref{Namespace: "shop", Name: "web"}
	b.containers = []workload.Container{
		{ID: "c1", Name: "web-1", Workload: ref, Image: "registry.example/web:1", ImageDigest: digestOf("config of web")},
		{ID: "c2", Name: "web-2", Workload: ref, Image: "registry.example/web:1"},
		{ID: "c3", Name: "other", Workload: workload.Ref{Namespace: "shop", Name: "other"}, Image: "nginx"},
	}
	d, err := b.Image(t.Context(), digestOf("web"))
	if err != nil || d.Running != 2 || len(d.Containers) != 2 || d.Containers[0].By != "digest" || d.Containers[1].By != "name" {
		t.Fatalf("containers %+v, %v", d.Containers, err)
	}
	un, err := b.Unscanned(t.Context())
	if err != nil || len(un) != 1 || un[0].Reference != "nginx" || un[0].ContainerID != "c3" {
		t.Errorf("unscanned %+v, %v", un, err)
	}
	if _, watched := b.Use().ExecutedIn(digestOf("web")); watched {
		t.Error("watched before anybody watched")
	}
	b.seen[ref] = Seen{Programs: []string{"/usr/bin/openssl"}, ProgramsWatched: true, Ports: []string{"tcp/443"}, PortsWatched: true}
	if sum := b.rejudge(); sum.Matched != 1 {
		t.Fatalf("what it was seen to do changed: %+v", sum)
	}
	f, err := b.ImageFindings(t.Context(), digestOf("web"))
	if err != nil || len(f) != 1 || f[0].Used == nil || !*f[0].Used || f[0].Exposed == nil || !*f[0].Exposed {
		t.Errorf("finding %+v, %v", f, err)
	}
	if got := b.one(); got.Used != 1 || got.Running != 2 || len(got.Workloads) != 1 {
		t.Errorf("image %+v", got)
	}
}

func TestFacts(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.scanner.bad = map[string]scan.Severity{"openssl": scan.High}
	b.add("shop", "registry.example/web:1", imageOf("web", "openssl"))
	for _, d := range []string{digestOf("web"), digestOf("config of web")} {
		i, ok := b.Facts().Image(d)
		if !ok || i.Open["high"] != 1 || !i.Complete || !i.Root || i.Digest != digestOf("web") {
			t.Errorf("%s: %+v %v", d, i, ok)
		}
		for range 2 { // from the store, then from memory
			files, ok := b.Facts().Executables(d)
			if !ok || files["/usr/bin/app"] != "sha256:aa" {
				t.Errorf("%s: executables %v %v", d, files, ok)
			}
		}
	}
	if _, ok := b.Facts().Image("sha256:00"); ok {
		t.Error("an image that was never scanned is known")
	}
	if _, ok := b.Facts().Executables(""); ok {
		t.Error("no digest names an image")
	}
}

// stores are what results are kept in; both must behave the same.
func stores(t *testing.T) map[string]store.Store {
	s, err := store.Open(t.Context(), store.Config{Path: t.TempDir() + "/images.db", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]store.Store{"memory": store.NewMemory(time.Now), "sqlite": s}
}

func TestResultsSurviveARestart(t *testing.T) {
	for kind, s := range stores(t) {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, Config{}, s)
			whole, broken := imageOf("web", "openssl"), imageOf("db", "zlib")
			broken.Inventory.Gaps = []scan.Gap{{Where: "layer 1", What: "cut off"}}
			b.add("shop", "registry.example/web:1", whole)
			b.add("shop", "registry.example/db:1", broken)
			b.open(Config{})
			results := found{b.Room, "shop"}
			for digest, want := range map[string]bool{digestOf("web"): true, digestOf("db"): false, digestOf("none"): false} {
				if got, err := results.Known(t.Context(), digest); err != nil || got != want {
					t.Errorf("known %s: %v %v, want %v", digest, got, err, want)
				}
			}
			d, err := b.Image(t.Context(), digestOf("db"))
			if err != nil || d.Complete || d.Gaps != 1 || len(d.GapList) != 1 {
				t.Errorf("incomplete image %+v, %v", d.Image, err)
			}
			if err := results.Name(t.Context(), digestOf("web"), []string{"registry.example/web:1", "registry.example/web:2"}); err != nil {
				t.Fatal(err)
			}
			if err := (found{b.Room, "other"}).Name(t.Context(), digestOf("web"), []string{"mirror.example/web:1"}); err != nil {
				t.Fatal(err)
			}
			if d, err := b.Image(t.Context(), digestOf("web")); err != nil || len(d.Names) != 3 || !slices.Equal(d.Targets, []string{"other", "shop"}) {
				t.Errorf("names %v of %v, %v", d.Names, d.Targets, err)
			}
			doc, err := b.ImageDocument(t.Context(), digestOf("web"), "cyclonedx")
			if err != nil || !strings.Contains(string(doc.Data), "openssl") || doc.ContentType != "application/json" {
				t.Errorf("bill of materials %.80s, %v", doc.Data, err)
			}
			b.scanner.version = "2"
			if got, err := results.Known(t.Context(), digestOf("web")); err != nil || got {
				t.Errorf("read by another version, and still known: %v %v", got, err)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	b := newBench(t, Config{MaxImages: 3}, nil)
	for i := range 5 {
		name := fmt.Sprintf("web%d", i)
		b.add("shop", "registry.example/"+name+":1", imageOf(name, "openssl"))
		b.now = b.now.Add(time.Hour)
	}
	b.containers = []workload.Container{{ID: "c", Image: "registry.example/web0:1"}}
	if err := b.evict(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false, true, true} { // the oldest runs here
		if _, ok := b.record(digestOf(fmt.Sprintf("web%d", i))); ok != want {
			t.Errorf("web%d kept: %v, want %v", i, ok, want)
		}
	}
	for _, kind := range []string{kindSummary, kindKept, kindReport, kindFiles} {
		docs, err := b.store.Documents(t.Context(), kind)
		if err != nil || len(docs) != 3 {
			t.Errorf("%s: %d documents, %v", kind, len(docs), err)
		}
	}
	b.cfg.MaxBytes = 1
	if err := b.evict(t.Context()); err != nil || len(b.all()) != 0 {
		t.Errorf("%d images in no room, %v", len(b.all()), err)
	}
}

func TestDamageIsTold(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.add("shop", "registry.example/web:1", imageOf("web", "openssl"))
	if err := b.store.Put(t.Context(), kindKept, digestOf("web"), []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	b.scanner.database = "sha256:d2"
	if err := b.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.kinds(); !slices.Equal(got, []event.Kind{event.ImageFailed}) || len(b.all()) != 0 {
		t.Errorf("events %v, %d images", got, len(b.all()))
	}
}

func TestAsked(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.scanner.bad = map[string]scan.Severity{"openssl": scan.High}
	b.containers = []workload.Container{{ID: strings.Repeat("a", 64), Image: "nginx:1.27", Workload: workload.Ref{Namespace: "shop", Name: "web"}}}
	b.scanner.kept[strings.Repeat("a", 64)] = imageOf("nginx", "openssl")
	for _, bad := range []console.ImageToScan{
		{Reference: "dir:/etc"}, {Reference: "/etc/shadow"}, {Reference: "tar:x"}, {Reference: "sbom:x"}, {Reference: "oci:x"}, {Reference: "container:x"},
		{Reference: "./x"}, {Reference: "a b"}, {Reference: ""}, {Container: "nobody"},
	} {
		if _, err := b.ScanImage(t.Context(), bad, "alice"); !errors.Is(err, console.ErrRefused) {
			t.Errorf("%+v: %v, want refused", bad, err)
		}
	}
	first, err := b.ScanImage(t.Context(), console.ImageToScan{Container: strings.Repeat("a", 12)}, "alice")
	if err != nil || first.State != "waiting" || first.What != "nginx:1.27" {
		t.Fatalf("%+v %v", first, err)
	}
	if again, err := b.ScanImage(t.Context(), console.ImageToScan{Container: strings.Repeat("a", 64)}, "bob"); err != nil || again.ID != first.ID {
		t.Errorf("the same waits twice: %+v %v", again, err)
	}
	if _, err := b.ScanImage(t.Context(), console.ImageToScan{Reference: "registry.example/gone"}, "alice"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.work(ctx); close(done) }()
	ended := func() []console.ImageScan {
		list, _ := b.Scans(ctx)
		if slices.ContainsFunc(list, func(s console.ImageScan) bool { return s.Ended.IsZero() }) {
			return nil
		}
		return list
	}
	for deadline := time.Now().Add(20 * time.Second); ended() == nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	list := ended()
	if len(list) != 2 || list[0].State != "failed" || list[0].Problem == "" || list[1].State != "done" || list[1].Digest != digestOf("nginx") {
		t.Fatalf("scans %+v", list)
	}
	if got := b.one(); !slices.Equal(got.Names, []string{"index.docker.io/library/nginx:1.27"}) || got.Running != 1 || got.Open.High != 1 {
		t.Errorf("image %+v", got)
	}
	if got := b.kinds(); !slices.Equal(got, []event.Kind{event.ImageFindings, event.ImageFailed}) {
		t.Errorf("events %v", got)
	}
}

func TestAskedIsBounded(t *testing.T) {
	b := newBench(t, Config{}, nil)
	for i := range maxWaiting {
		if _, err := b.ScanImage(t.Context(), console.ImageToScan{Reference: fmt.Sprintf("registry.example/x:%d", i)}, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.ScanImage(t.Context(), console.ImageToScan{Reference: "registry.example/more"}, "alice"); !errors.Is(err, console.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string][2]string{
		"nginx":                     {"index.docker.io/library/nginx:latest", ""},
		"docker.io/library/nginx:1": {"index.docker.io/library/nginx:1", ""},
		"team/app:2":                {"index.docker.io/team/app:2", ""},
		"localhost:5000/app":        {"localhost:5000/app:latest", ""},
		"r.example/a/b:1@sha256:ab": {"r.example/a/b:1", "sha256:ab"},
		"r.example/a/b@sha256:ab":   {"", "sha256:ab"},
		"sha256:0123456789abcdef":   {"", ""},
		"":                          {"", ""},
	} {
		if name, digest := canonical(in); name != want[0] || digest != want[1] {
			t.Errorf("%q: %q %q, want %q", in, name, digest, want)
		}
	}
}

// TestTargets follows a registry of the test that has nothing, which no sweep
// can read as a catalogue of images.
func TestTargets(t *testing.T) {
	reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/_catalog" {
			http.Error(w, "out of order", http.StatusTeapot)
		}
	}))
	defer reg.Close()
	b := newBench(t, Config{}, nil)
	doc := scanTarget("shop")
	doc.Spec.Registry = strings.TrimPrefix(reg.URL, "http://")
	doc.Spec.Schedule = "@daily"
	doc.Spec.TLS = &v1alpha1.RegistryTLS{PlainHTTP: true}
	doc.Spec.Credentials = &v1alpha1.RegistryCredentials{Anonymous: true}
	doc.Spec.Webhook = &v1alpha1.ScanWebhook{SecretEnv: "HOOK"}
	b.SetTargets([]*v1alpha1.ScanTarget{doc})
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); b.stopTargets() }()
	b.followTargets(ctx)
	state := func() console.ScanTarget {
		list, _ := b.ScanTargets(ctx)
		if len(list) != 1 {
			return console.ScanTarget{}
		}
		return list[0]
	}
	for deadline := time.Now().Add(20 * time.Second); state().State == "scanning" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if s := state(); s.State != "failed" || s.Problem == "" || !s.Webhook {
		t.Errorf("target %+v", s)
	}
	if err := b.problems(); err == nil || !strings.Contains(err.Error(), "shop") {
		t.Errorf("health: %v", err)
	}
	if got := b.kinds(); !slices.Equal(got, []event.Kind{event.ImageFailed}) {
		t.Errorf("events %v", got)
	}
	if b.Hook("shop") == nil || b.Hook("nobody") != nil {
		t.Error("the hook is there for exactly the target that asks for one")
	}
	push := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"events":[]}`))
	b.Hook("shop").ServeHTTP(push, req)
	if push.Code != http.StatusUnauthorized {
		t.Errorf("without the secret: %d", push.Code)
	}
	req = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"events":[]}`))
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("s", 20))
	push = httptest.NewRecorder()
	b.Hook("shop").ServeHTTP(push, req)
	if push.Code != http.StatusAccepted {
		t.Errorf("with the secret: %d %s", push.Code, push.Body)
	}
	b.SetTargets(nil)
	b.followTargets(ctx)
	if s := state(); s.Name != "" || b.Hook("shop") != nil {
		t.Errorf("removed, and still there: %+v", s)
	}
}

func TestHookNeedsItsSecret(t *testing.T) {
	b := newBench(t, Config{}, nil)
	for _, w := range []*v1alpha1.ScanWebhook{{SecretEnv: "NONE"}, {SecretFile: "/none"}} {
		if _, err := b.secret(w); err == nil {
			t.Errorf("%+v gave a secret", w)
		}
	}
}
