package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gabion-dev/gabion/workload"
)

// TestShapes: the policies are what the figures' names say they are.
func TestShapes(t *testing.T) {
	c := workload.Container{ID: "c", Name: "c", Workload: workload.Ref{Namespace: namespace, Name: "c"}}
	for _, s := range shapes {
		if s.name == "learn" {
			continue
		}
		p, err := plan(&c, document(s.name))
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if n := len(p.Process.Allow); n != programs+1 || !p.Process.DenyDrift { // and the load itself
			t.Errorf("%s: %d programs, drift %v", s.name, n, p.Process.DenyDrift)
		}
		files := 0
		if p.Files != nil {
			files = len(p.Files.Rules)
		}
		if want := map[bool]int{true: 0, false: 60}[s.name == "exec"]; files != want {
			t.Errorf("%s: %d file rules, want %d", s.name, files, want)
		}
		if all := s.name == "all"; all != (p.Capabilities != nil) || all != (p.Hardening != nil) {
			t.Errorf("%s: capabilities %v, hardening %v", s.name, p.Capabilities, p.Hardening)
		}
	}
}

func TestPrograms(t *testing.T) {
	for name, code := range map[string][]byte{"exit": exitProgram(), "pause": pauseProgram()} {
		f, err := elf.NewFile(bytes.NewReader(code))
		if err != nil || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || f.Progs[0].Filesz != uint64(len(code)) {
			t.Errorf("%s: %+v %v", name, f, err)
		}
	}
	file := filepath.Join(t.TempDir(), "exit")
	if err := os.WriteFile(file, exitProgram(), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("the smallest program: %v %q", err, out)
	}
}

// TestMeasure runs the load's own loops: what is there is done, what is not
// there is counted as failed.
func TestMeasure(t *testing.T) {
	root := t.TempDir()
	if err := image(root); err != nil {
		t.Fatal(err)
	}
	if n := opens(2*fileCount, root+freeDir); n != 0 {
		t.Errorf("%d openings failed", n)
	}
	if n := opens(fileCount, root+"/nowhere"); n != fileCount {
		t.Errorf("%d openings of nothing failed, want all", n)
	}
	if n := execs(programs, root+"/usr/bin"); n != 0 {
		t.Errorf("%d starts failed", n)
	}
	if n := execs(3, root+"/nowhere"); n != 3 {
		t.Errorf("%d starts of nothing failed, want all", n)
	}
}

func TestMapBytes(t *testing.T) {
	if n, err := mapBytes(); err != nil || n != 0 {
		t.Errorf("a process without maps holds %d bytes of them (%v)", n, err)
	}
}
