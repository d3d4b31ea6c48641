package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/internal/testkit"
)

func TestNewest(t *testing.T) {
	for _, tt := range []struct{ found, want string }{
		{"", ""},
		{"linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 (signed)\nlinux-image-6.1.0-56-cloud-amd64 - Linux 6.1 (signed)\n", "linux-image-6.1.0-56-cloud-amd64"},
		{"linux-image-6.12.117+deb12-cloud-amd64 - x\nlinux-image-6.12.99+deb12-cloud-amd64 - y\n", "linux-image-6.12.117+deb12-cloud-amd64"},
	} {
		if got := newest(tt.found); got != tt.want {
			t.Errorf("newest(%q) = %q, want %q", tt.found, got, tt.want)
		}
	}
}

// An archive is what cpio takes it for.
func TestArchive(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	testkit.Require(t, "cpio", err == nil, "install cpio")
	var b bytes.Buffer
	a := newArchive(&b)
	a.file("/a/b/odd", 0o755, []byte("12345"))
	a.file("/a/even", 0o600, []byte("1234"))
	a.dir("/a/b")
	a.link("/link", "a/b/odd")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(cpio, "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for name, want := range map[string]string{"a/b/odd": "12345", "a/even": "1234", "link": "12345"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	fi, err := os.Stat(filepath.Join(dir, "a/b/odd"))
	if err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("mode of a/b/odd: %v, %v", fi, err)
	}
}

func TestListen(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       []Message
		err        string
	}{
		{"whole", `{"Suite":"a","Line":"x"}` + "\n" + `{"Done":true}` + "\n", []Message{{Suite: "a", Line: "x"}}, ""},
		{"cut off", `{"Suite":"a","Line":"x"}` + "\n", []Message{{Suite: "a", Line: "x"}}, ErrCutOff.Error()},
		{"nothing", "", nil, ErrCutOff.Error()},
		{"fault", `{"Fault":"no memory"}` + "\n", nil, "no memory"},
		{"noise", "SeaBIOS\n", nil, "SeaBIOS"},
		{"too long", strings.Repeat("x", 17<<20), nil, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []Message
			err := listen(strings.NewReader(tt.said), func(m Message) error { got = append(got, m); return nil })
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	stop := errors.New("enough")
	if err := listen(strings.NewReader(`{"Line":"x"}`+"\n"), func(Message) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v, want the listener's own", err)
	}
}

// module is the smallest ELF file with a section .modinfo.
func module(info string) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // a buffer takes everything
	section := func(name, kind uint32, at, size int) {
		put([]uint32{name, kind})
		put([]uint64{0, 0, uint64(at), uint64(size)})
		put([]uint32{0, 0})
		put([]uint64{1, 0})
	}
	const header = 64
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	put([]uint16{1, 62})
	put(uint32(1))
	put([]uint64{0, 0, uint64(header + len(info) + len(names))})
	put(uint32(0))
	put([]uint16{header, 0, 0, 64, 3, 2})
	b.WriteString(info + names)
	section(0, 0, 0, 0)
	section(1, 1, header, len(info))
	section(10, 3, header+len(info), len(names))
	return b.Bytes()
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	for name, info := range map[string]string{
		"overlay.ko":   "alias=fs-overlay\x00depends=\x00",
		"sub/veth.ko":  "alias=rtnl-link-veth\x00depends=help-er,built_in\x00",
		"help_er.ko":   "license=GPL\x00",
		"unwanted.ko":  "depends=overlay\x00",
		"modules.text": "no module",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, module(info), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := modules(context.Background(), Kernel{Modules: dir}, "veth", "overlay", "built-in")
	if err != nil {
		t.Fatal(err)
	}
	want := []Module{
		{Name: "help_er"},
		{Name: "veth", Depends: []string{"help-er", "built_in"}, Aliases: []string{"rtnl-link-veth"}},
		{Name: "overlay", Aliases: []string{"fs-overlay"}},
	}
	for i := range got {
		got[i].data = nil
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Module{})); d != "" {
		t.Error(d)
	}
	if err := os.WriteFile(filepath.Join(dir, "veth.ko.gz"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "sub/veth.ko"))); err != nil {
		t.Fatal(err)
	}
	if _, err := modules(context.Background(), Kernel{Modules: dir}, "veth"); err == nil || !strings.Contains(err.Error(), "compression") {
		t.Errorf("a module that cannot be read: %v", err)
	}
}

func FuzzModule(f *testing.F) {
	f.Add(module("alias=a*\x00depends=b,c\x00"))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseModule("m", data)
		if err == nil && m.Name != "m" {
			t.Errorf("name %q", m.Name)
		}
	})
}

func TestArguments(t *testing.T) {
	m := Machine{Kernel: Kernel{Image: "vmlinuz"}, Archive: "a", Console: "c", LSM: "landlock,bpf"}
	line := strings.Join(m.args(), " ")
	for _, want := range []string{"-accel tcg", "-kernel vmlinuz -initrd a", " lsm=landlock,bpf", "-icount shift=0,sleep=off", "-serial file:c", "-m 2048M"} {
		if !strings.Contains(line, want) {
			t.Errorf("arguments lack %q: %s", want, line)
		}
	}
	if line := strings.Join(Machine{Wall: true}.args(), " "); strings.Contains(line, "lsm=") || strings.Contains(line, "icount") {
		t.Errorf("a machine by the wall clock has extras: %s", line)
	}
}
