package kernel

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

const flood = 10_000

// storm starts a multi-call program under 10,000 names: as many things to tell
// of. Nobody reads the rings meanwhile, so that most find no room.
const storm = "i=0; while [ $i -lt 10000 ]; do /bin/busybox x$i; i=$((i+1)); done 2> /dev/null; echo end"

func (r *live) accounts(t *testing.T, ring string) (sum guard.Account) {
	t.Helper()
	all, err := r.Accounting()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Ring == ring {
			sum.Seen += a.Seen
			sum.Lost += a.Lost
		}
	}
	return sum
}

// TestFlood lets 10,000 happenings of as many kinds meet rings that nobody
// reads: what was seen is told of or counted as lost, and no denial is missing.
func TestFlood(t *testing.T) {
	b := sleeper(t, newImage(t))
	pinDir := pins(t)
	// Nothing runs that would answer fanotify either.
	first, err := Open(Config{PinDir: pinDir, NoFanotify: true}, Deps{Log: testLog(), Sink: newSink()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Apply(context.Background(), b.c, nil); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.sh(storm); !strings.HasSuffix(out, "end\n") {
		t.Fatalf("storm: %q", out)
	}
	if err := first.Close(true); err != nil {
		t.Fatal(err)
	}
	e := start(t, Config{PinDir: pinDir})
	got := e.accounts(t, guard.RingObservations)
	if got.Seen < flood || got.Seen > flood+5 || got.Lost == 0 {
		t.Errorf("observations: %+v", got)
	}
	told := func() (n uint64) {
		e.sink.mu.Lock()
		defer e.sink.mu.Unlock()
		for _, o := range e.sink.seen {
			if o.ContainerID == b.id && (len(o.Process.Args) > 1 && o.Process.Args[0] == "/bin/busybox" || strings.Contains(strings.Join(o.Process.Args, " "), "10000")) {
				n++
			}
		}
		return n
	}
	eventually(t, "all that had room", func() bool { return told() == got.Seen-got.Lost })
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	e.sink.mu.Lock()
	var lost uint64
	for _, l := range e.sink.lost {
		lost += l.Observations
	}
	e.sink.mu.Unlock()
	if lost != got.Lost {
		t.Errorf("told of %d lost, %d were", lost, got.Lost)
	}

	// The same as denials: 10,000 causes.
	e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{file("/bin/sh")}}))
	if out, _ := b.sh(storm); !strings.HasSuffix(out, "end\n") {
		t.Fatalf("storm: %q", out)
	}
	e.denied(t, flood, anyDenial)
	if all := e.sink.all(); len(all) != flood {
		t.Errorf("%d causes", len(all))
	}
	if got := e.accounts(t, guard.RingDenials); got.Seen != flood {
		t.Errorf("denials: %+v", got)
	}
}

// thousand starts what is forbidden 1,000 times.
const thousand = "i=0; while [ $i -lt 1000 ]; do /usr/bin/tool; i=$((i+1)); done 2> /dev/null; echo end"

// cgroupDir gives the box's directory of a controller, of either version.
func (b *box) cgroupDir(controller, file string) string {
	for _, dir := range []string{"/sys/fs/cgroup/" + b.id, "/sys/fs/cgroup/" + controller + "/" + b.id} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return dir
		}
	}
	return ""
}

// set writes the first of the files that the box's cgroup has.
func (b *box) set(t *testing.T, controller string, files ...[2]string) {
	t.Helper()
	for _, f := range files {
		dir := b.cgroupDir(controller, f[0])
		if dir == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("the container's cgroup has none of %v", files)
}

// TestThousandUnderStress counts 1,000 denials of 1,000 attempts while the
// container is short of memory, of processors, and while no agent is there.
func TestThousandUnderStress(t *testing.T) {
	image := newImage(t)
	pinDir := pins(t)
	var e *live
	open := func() { e = start(t, Config{PinDir: pinDir}) }
	open()
	for _, tt := range []struct {
		name   string
		stress func(t *testing.T, b *box)
		script string
	}{
		{"memory", func(t *testing.T, b *box) {
			b.set(t, "memory", [2]string{"memory.high", "28M"}, [2]string{"memory.limit_in_bytes", "64M"})
		}, "dd if=/dev/zero of=/data/fill bs=1M count=24 2> /dev/null; " + thousand},
		{"processor", func(t *testing.T, b *box) {
			b.set(t, "cpu", [2]string{"cpu.max", "20000 100000"}, [2]string{"cpu.cfs_quota_us", "20000"})
		}, "(while :; do :; done) & " + thousand + "; kill $!"},
		{"no agent", func(t *testing.T, b *box) {
			e.stop()
			if err := e.Close(true); err != nil {
				t.Fatal(err)
			}
		}, thousand},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBox(t, image, "/bin/sleep", "1000").run()
			plan := listed(file("/bin/dd"), file("/bin/kill"))
			e.mustApply(t, b, plan)
			tt.stress(t, b)
			if out, _ := b.sh(tt.script); out != "end\n" {
				t.Errorf("output: %q", out)
			}
			if tt.name == "no agent" {
				open()
			}
			e.denied(t, 1000, func(d guard.Denial) bool { return d.ContainerID == b.id && d.Path == "/usr/bin/tool" })
		})
	}
}
