package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/testkit"
)

// create makes the box's container without starting it: what the runtime has
// when it asks by NRI whether it may start it.
func (b *box) create() *box {
	b.t.Helper()
	out, err := os.Create(filepath.Join(b.dir, "out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	cmd := runc("create", "--bundle", b.dir, b.id)
	cmd.Stdout, cmd.Stderr = out, out
	b.t.Cleanup(b.remove)
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		testkit.Require(b.t, "runc", false, "create container: "+string(text))
	}
	b.look()
	return b
}

// TestPolicyBeforeTheStart applies policy while the runtime's init waits in the
// container, and then starts it.
func TestPolicyBeforeTheStart(t *testing.T) {
	image := newImage(t)
	e := start(t, Config{})
	allowed := newBox(t, image, "/bin/sh", "-c", "/usr/bin/tool; /usr/bin/app; sleep 1000").create()
	denied := newBox(t, image, "/usr/bin/tool").create()
	for _, b := range []*box{allowed, denied} {
		e.mustApply(t, b, listed(file("/usr/bin/app")))
	}
	for _, b := range []*box{allowed, denied} {
		// The start of the denied one may be told as failed or not, by how it is denied.
		_ = runc("start", b.id).Run()
	}
	eventually(t, "the allowed program goes on", func() bool { return strings.HasSuffix(allowed.output(), "app\n") })
	eventually(t, "both denials are counted", func() bool { return e.Flush() == nil && e.sink.total(byPath("/usr/bin/tool")) == 2 })
	for _, b := range []*box{allowed, denied} {
		if out := b.output(); strings.Contains(out, "tool\n") {
			t.Errorf("a program ran although it is not allowed: %q", out)
		}
	}
	if n := e.sink.total(func(d guard.Denial) bool { return d.Path != "/usr/bin/tool" }); n != 0 {
		t.Errorf("the runtime's own steps were denied: %+v", e.sink.all())
	}
	e.sink.mu.Lock()
	defer e.sink.mu.Unlock()
	for _, o := range e.sink.seen {
		if !o.InImage {
			t.Errorf("the runtime's own program was taken for the container's: %+v", o)
		}
	}
	if len(e.sink.starts) != 0 {
		t.Errorf("what is known was told as a start: %+v", e.sink.starts)
	}
}
