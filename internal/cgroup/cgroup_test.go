package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// group makes a cgroup for the test and removes it afterwards.
func group(t *testing.T) string {
	t.Helper()
	testkit.RequireRoot(t)
	root, err := Root()
	testkit.Require(t, "cgroup2", err == nil, fmt.Sprint(err))
	dir := filepath.Join(root, fmt.Sprintf("gabiontest-cg-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(Kill(context.Background(), dir), Remove(context.Background(), dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// sleepers starts a process in each of dirs.
func sleepers(t *testing.T, dirs ...string) []*exec.Cmd {
	t.Helper()
	var list []*exec.Cmd
	for _, dir := range dirs {
		cmd := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && echo in && exec sleep 1000`, dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "in\n" {
			t.Fatalf("process did not enter %s", dir)
		}
		list = append(list, cmd)
	}
	return list
}

// reap lets killed children go, as their parent must.
func reap(list []*exec.Cmd) {
	for _, c := range list {
		go func() { _ = c.Wait() }()
	}
}

func TestSubtree(t *testing.T) {
	dir := group(t)
	sub := filepath.Join(dir, "a/b")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	list := sleepers(t, dir, sub)
	pids, err := PIDs(dir)
	if err != nil || len(pids) != 2 {
		t.Fatalf("processes %v, %v, want 2", pids, err)
	}
	ctx := context.Background()
	if err := Freeze(ctx, dir, true); err != nil || !Frozen(dir) {
		t.Fatalf("freeze: %v, %v", err, Frozen(dir))
	}
	if err := Freeze(ctx, dir, false); err != nil || Frozen(dir) {
		t.Fatalf("thaw: %v, %v", err, Frozen(dir))
	}
	if err := Freeze(ctx, dir, true); err != nil {
		t.Fatal(err)
	}
	reap(list)
	if err := Kill(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if pids, err := PIDs(dir); err != nil || len(pids) != 0 {
		t.Errorf("processes after kill: %v, %v", pids, err)
	}
	if err := Remove(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestSignalOnlyInside(t *testing.T) {
	dir := group(t)
	in := sleepers(t, dir)
	other := group(t)
	out := sleepers(t, other)
	signal(out[0].Process.Pid, dir)
	signal(in[0].Process.Pid, dir)
	if err := in[0].Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("process inside: %v", err)
	}
	if pids, err := PIDs(other); err != nil || len(pids) != 1 {
		t.Errorf("process outside was signalled: %v, %v", pids, err)
	}
	reap(out)
}

func TestGone(t *testing.T) {
	dir := group(t)
	no := filepath.Join(dir, "no")
	ctx := context.Background()
	if err := Kill(ctx, no); err != nil {
		t.Error(err)
	}
	if err := Remove(ctx, no); err != nil {
		t.Error(err)
	}
	if pids, err := PIDs(no); err != nil || pids != nil {
		t.Error(pids, err)
	}
	if err := Freeze(ctx, no, true); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := ID(no); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestKillGivesUp(t *testing.T) {
	dir := group(t)
	list := sleepers(t, dir)
	if err := Remove(canceled(), dir); !errors.Is(err, context.Canceled) {
		t.Errorf("removed with a process inside: %v", err)
	}
	reap(list)
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
