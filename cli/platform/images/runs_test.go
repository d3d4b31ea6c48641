package images

import (
	"strings"
	"testing"
)

// FuzzCanonical: whatever a runtime calls an image, the canonical name is none or
// has a host, a path and a tag, and is its own canonical name.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"nginx", "docker.io/library/nginx:1", "localhost:5000/a/b@sha256:ab", "sha256:00", "a:b:c", "/", "x/:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		name, _ := canonical(ref)
		if name == "" {
			return
		}
		if !strings.Contains(name, "/") || !strings.Contains(name, ":") {
			t.Fatalf("%q became %q", ref, name)
		}
		if again, _ := canonical(name); again != name {
			t.Fatalf("%q became %q, and that %q", ref, name, again)
		}
	})
}
