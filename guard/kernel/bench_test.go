package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
)

// row is one figure of bench/results.
type row struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
}

// spawner starts the tiny program many times from a thread that stays where it
// is put: in a container's namespaces, or on the host.
type spawner struct {
	cmd *exec.Cmd
	in  *os.File
	out *os.File
}

// spawnChild reads numbers and answers with the nanoseconds that as many
// starts of the program took.
func spawnChild() int {
	runtime.LockOSThread()
	if pid := os.Getenv("GABIONTEST_JOIN"); pid != "" {
		for _, ns := range []string{"mnt"} {
			fd, err := unix.Open("/proc/"+pid+"/ns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			// A thread that shares its file system state cannot change it.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				fmt.Println(err)
				return 1
			}
			if err := unix.Setns(fd, 0); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	prog := os.Getenv("GABIONTEST_PROG")
	devnull, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		devnull = 2
	}
	fmt.Println("ready")
	var n int
	for {
		if _, err := fmt.Scanln(&n); err != nil {
			return 0
		}
		begin := time.Now()
		for range n {
			pid, err := forkExec(prog, devnull)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			var ws unix.WaitStatus
			if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil || ws.Signaled() {
				fmt.Println("bad end", err, ws)
				return 1
			}
		}
		fmt.Println(time.Since(begin).Nanoseconds())
	}
}

func newSpawner(b *testing.B, prog string, join int) *spawner {
	b.Helper()
	s := &spawner{cmd: exec.Command("/proc/self/exe")}
	s.cmd.Env = append(os.Environ(), modeEnv+"=spawn", "GABIONTEST_PROG="+prog)
	if join != 0 {
		s.cmd.Env = append(s.cmd.Env, "GABIONTEST_JOIN="+itoa(join))
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = inR, outW, os.Stderr
	s.in, s.out = inW, outR
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	inR.Close()
	outW.Close()
	b.Cleanup(func() { s.in.Close(); _ = s.cmd.Wait(); s.out.Close() })
	var word string
	if _, err := fmt.Fscanln(s.out, &word); err != nil || word != "ready" {
		b.Fatalf("spawner: %q %v", word, err)
	}
	return s
}

func (s *spawner) run(b *testing.B, n int) float64 {
	b.Helper()
	if _, err := fmt.Fprintln(s.in, n); err != nil {
		b.Fatal(err)
	}
	var ns string
	if _, err := fmt.Fscanln(s.out, &ns); err != nil {
		b.Fatal(err)
	}
	v, err := strconv.ParseFloat(ns, 64)
	if err != nil {
		b.Fatalf("spawner says %q", ns)
	}
	return v
}

// BenchmarkExec compares, in rounds that alternate, the cost of starting a
// program on the host without the kernel programs, on the host with them, and
// in a container whose policy lists it. Figures are medians over rounds of the
// ratio to the same start without the kernel programs in the same round.
func BenchmarkExec(b *testing.B) {
	image := newImage(b)
	host := filepath.Join(b.TempDir(), "app")
	if err := os.WriteFile(host, tinyELF("x"), 0o755); err != nil {
		b.Fatal(err)
	}
	c := sleeper(b, image)
	e := start(b, Config{})
	outside, inside := newSpawner(b, host, 0), newSpawner(b, "/usr/bin/app", c.c.PID)

	// toggle attaches the kernel programs and fanotify's mark, or takes both away.
	toggle := func(on, fan bool) {
		b.Helper()
		if !on {
			for _, ln := range e.l.links {
				if err := errors.Join(ln.Unpin(), ln.Close()); err != nil {
					b.Fatal(err)
				}
			}
			clear(e.l.links)
			if e.fan != nil {
				err := e.fan.control(func(fd int) error {
					return unix.FanotifyMark(fd, unix.FAN_MARK_FLUSH|unix.FAN_MARK_FILESYSTEM, 0, unix.AT_FDCWD, "/")
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			return
		}
		e.l.adopted = false
		if err := e.l.attach(testLog(), e.cfg.PinDir, e.hooks); err != nil {
			b.Fatal(err)
		}
		if fan && e.fan != nil {
			if err := e.fan.mark(c.c.PID); err != nil {
				b.Fatal(err)
			}
		}
	}
	claim := func() {
		b.Helper()
		cid, _ := e.Maps().CID(c.id)
		threads, err := os.ReadDir("/proc/" + itoa(inside.cmd.Process.Pid) + "/task")
		if err != nil {
			b.Fatal(err)
		}
		for _, th := range threads {
			tid, _ := strconv.Atoi(th.Name())
			if err := e.Maps().Tasks.Put(uint32(tid), cid); err != nil {
				b.Fatal(err)
			}
		}
	}
	const starts, warm = 300, 60
	rounds := max(b.N, 41)
	measure := func(s *spawner, fan bool) float64 {
		b.Helper()
		var ratios []float64
		for round := range rounds {
			var took [2]float64
			for i := range 2 {
				on := (i + round) % 2 // each goes first in half of the rounds
				toggle(on == 1, fan)
				s.run(b, warm)
				took[on] = s.run(b, starts)
				if on == 1 {
					toggle(false, false)
				}
			}
			ratios = append(ratios, took[1]/took[0])
		}
		toggle(true, fan)
		return median(ratios)
	}
	list := func(drift bool) *policy.Plan {
		return makePlan(policy.ProcessPlan{
			Mode: v1alpha1.Protect, Listed: true, DenyDrift: drift,
			Allow: []policy.ExecRule{file("/usr/bin/app"), file("/bin/sh"), tree("/opt"), inDir("/usr/local/bin")},
			Deny:  []policy.ExecRule{names("wget", "nc", "ncat")},
		})
	}
	add := func(rows []row, name string, value, target float64) []row {
		return append(rows, row{Name: name, Value: value, Unit: "ratio to no agent", Better: "lower", Target: target})
	}
	rows := add(nil, "exec, unmanaged process", measure(outside, false), 1.01)
	e.mustApply(b, c, list(false))
	claim()
	rows = add(rows, "exec, managed container, allow list", measure(inside, false), 1.05)
	e.mustApply(b, c, list(true))
	claim()
	rows = add(rows, "exec, managed container, allow list and drift", measure(inside, false), 1.05)
	rows = add(rows, "exec, managed container, allow list, drift and fanotify", measure(inside, true), 1.05)
	for i := range rows {
		rows[i].OK = rows[i].Value <= rows[i].Target
		b.ReportMetric(rows[i].Value, "ratio/"+strconv.Itoa(i))
		b.Logf("%-70s %.3f (at most %.2f)", rows[i].Name, rows[i].Value, rows[i].Target)
	}
	if dir := os.Getenv("GABION_BENCH_OUT"); dir != "" {
		raw, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "exec.json"), append(raw, '\n'), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func forkExec(prog string, out int) (int, error) {
	return syscall.ForkExec(prog, []string{prog}, &syscall.ProcAttr{Files: []uintptr{uintptr(out), uintptr(out), uintptr(out)}})
}

// BenchmarkApply is the time from knowing a container to its policy in force,
// which a held container waits for.
func BenchmarkApply(b *testing.B) {
	c := sleeper(b, newImage(b))
	e := start(b, Config{})
	plan := makePlan(policy.ProcessPlan{
		Mode: v1alpha1.Protect, Listed: true, DenyDrift: true,
		Allow: []policy.ExecRule{file("/usr/bin/app"), file("/bin/sh"), file("/bin/sleep"), tree("/opt"), inDir("/usr/local/bin")},
		Deny:  []policy.ExecRule{names("wget", "nc", "ncat"), names("apk", "apt", "yum"), names("bash", "zsh")},
	})
	for b.Loop() {
		e.mustApply(b, c, plan)
	}
}
