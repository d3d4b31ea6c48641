package decide

import (
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

// watcher says what was seen of images by digest.
type watcher struct {
	ran   map[string][]string
	ports map[string][]string
}

func (w watcher) ExecutedIn(d string) ([]string, bool) { p, ok := w.ran[d]; return p, ok }
func (w watcher) ExposedTo(d string) ([]string, bool)  { p, ok := w.ports[d]; return p, ok }

func TestUse(t *testing.T) {
	img := scan.Image{Digest: "sha256:m", ConfigID: "sha256:c"}
	seen := watcher{
		ran:   map[string][]string{"sha256:m": {"/usr/bin/bash"}, "sha256:c": {"/app/server", "usr/sbin/../bin/env"}},
		ports: map[string][]string{"sha256:c": {"tcp/8080", "tcp/443", "tcp/8080"}},
	}
	u := lookUp(img, seen)
	for _, tt := range []struct {
		name string
		p    scan.Package
		want *bool
	}{
		{"ran", scan.Package{Programs: []string{"/usr/bin/bash", "/usr/lib/x.so"}}, yes(true)},
		{"ran under the other digest", scan.Package{Programs: []string{"/usr/bin/env"}}, yes(true)},
		{"idle programs", scan.Package{Programs: []string{"/usr/bin/git"}}, yes(false)},
		{"idle programs and a library", scan.Package{Programs: []string{"/usr/bin/openssl", "/usr/lib/libssl.so.3"}}, nil},
		{"library", scan.Package{Programs: []string{"/usr/lib/libc.so.6"}}, nil},
		{"no programs", scan.Package{Ecosystem: "npm", Path: "/app/node_modules/x/package.json"}, nil},
		{"Go program", scan.Package{Ecosystem: "Go", Path: "/app/server"}, yes(true)},
		{"idle Go program", scan.Package{Ecosystem: "Go", Path: "/app/tool"}, yes(false)},
		{"Go module file", scan.Package{Ecosystem: "Go", Path: "/src/go.mod"}, nil},
		{"Rust program", scan.Package{Ecosystem: "crates.io", Path: "/app/server"}, yes(true)},
		{"jar", scan.Package{Ecosystem: "Maven", Path: "/app/x.jar"}, nil},
	} {
		f := scan.Finding{}
		u.mark(&f, &tt.p)
		if (f.Used == nil) != (tt.want == nil) || f.Used != nil && *f.Used != *tt.want {
			t.Errorf("%s: %v", tt.name, f.Used)
		}
		if f.Exposed == nil || !*f.Exposed {
			t.Errorf("%s: exposed %v", tt.name, f.Exposed)
		}
	}
	if len(u.ports) != 2 || u.ports[0] != "tcp/443" {
		t.Errorf("ports %q", u.ports)
	}
	// Watched and nothing seen is another thing than not watched.
	for name, w := range map[string]watcher{"quiet": {ran: map[string][]string{"sha256:m": nil}, ports: map[string][]string{"sha256:m": nil}}, "unwatched": {}} {
		u := lookUp(img, w)
		f := scan.Finding{Used: yes(true), Exposed: yes(true)}
		u.mark(&f, &scan.Package{Programs: []string{"/usr/bin/git"}})
		if name == "quiet" && (f.Used == nil || *f.Used || f.Exposed == nil || *f.Exposed) || name == "unwatched" && (f.Used != nil || f.Exposed != nil) {
			t.Errorf("%s: %v %v", name, f.Used, f.Exposed)
		}
	}
	none := lookUp(scan.Image{}, seen)
	if none.ran != nil || none.exposed != nil {
		t.Error("an image without digests was seen")
	}
}

func TestApplyUse(t *testing.T) {
	r := sample()
	Apply(r, Inputs{Use: watcher{ran: map[string][]string{r.Image.Digest: {"/usr/bin/bash"}}, ports: map[string][]string{r.Image.ConfigID: {"tcp/80"}}}}, now)
	f := finding(t, r, "CVE-2026-1")
	if f.Used == nil || !*f.Used || f.Priority != 34+12+8 {
		t.Errorf("%d %q", f.Priority, f.Reasons)
	}
}
