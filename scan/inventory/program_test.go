package inventory

import (
	"bytes"
	"compress/zlib"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// The test's own program is a real one of Go.
func TestGoBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("test has no build information")
	}
	fi, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, buffer := range []int64{1 << 20, 1 << 28} {
		f, err := os.Open(self)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		inv := Merge([]*Contents{recoded(t, visit(t, New(Config{MaxBuffer: buffer}), big("usr/bin/app", f, fi.Size())))})
		got := map[string]string{}
		for _, p := range inv.Packages {
			if p.Ecosystem != "Go" || p.Path != "/usr/bin/app" || p.Found != "go-binary" {
				t.Errorf("package %+v", p)
			}
			got[p.Name] = p.Version
		}
		if len(got) < 2 {
			t.Errorf("packages %v", got)
		}
		for _, d := range own.Deps {
			if got[d.Path] != strings.TrimPrefix(d.Version, "v") {
				t.Errorf("%s is %q, want %q", d.Path, got[d.Path], d.Version)
			}
		}
		if want := goRelease(own.GoVersion); got["stdlib"] != want {
			t.Errorf("stdlib is %q, want %q", got["stdlib"], want)
		}
	}
}

// goInfo makes the build information as the linker writes it.
func goInfo(version, modules string) string {
	mark := strings.Repeat("m", 16)
	if modules != "" {
		modules = mark + modules + mark
	}
	return goMagic + "\x08\x02" + strings.Repeat("\x00", 16) + string(rune(len(version))) + version + string(appendUvarint(len(modules))) + modules
}

func appendUvarint(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func TestGoBuildInfo(t *testing.T) {
	mods := "path\tex.com/app\nmod\tex.com/app\tv1.2.3\th1:x=\ndep\tex.com/a\tv1.0.0\th1:x=\ndep\tex.com/b\tv1.0.0\n=>\tex.com/fork\tv1.1.0\th1:x=\ndep\tex.com/c\tv1.0.0\n=>\t./local\t\t\n"
	for _, c := range []struct {
		name, body string
		want       []string
		gap        string
	}{
		{"modules", goInfo("go1.21.5", mods), []string{"Go ex.com/app 1.2.3 @0", "Go ex.com/a 1.0.0 @0", "Go ex.com/fork 1.1.0 @0", "Go stdlib 1.21.5 @0"}, ""},
		{"none", goInfo("go1.21.5 X:boringcrypto", ""), []string{"Go stdlib 1.21.5 @0"}, ""},
		{"between releases", goInfo("devel go1.23-abc", mods), []string{"Go ex.com/app 1.2.3 @0", "Go ex.com/a 1.0.0 @0", "Go ex.com/fork 1.1.0 @0"}, "which is no release of Go"},
		{"not built from a version", goInfo("go1.22", "path\tcmd/x\nmod\tex.com/app\t(devel)\t\n"), []string{"Go ex.com/app @0", "Go stdlib 1.22 @0"}, ""},
		{"old", goMagic + "\x08\x00" + strings.Repeat("\x00", 64), nil, "Go before 1.18"},
		{"text that only mentions it", "x" + goInfo("go1.21.5", mods), nil, ""},
		{"rubbish after it", goMagic + "\x08\x02" + strings.Repeat("\xff", 64), nil, ""},
		{"damaged list", goInfo("go1.21.5", "mod\tx\n"), nil, "read build information"},
		{"list cut off", goInfo("go1.21.5", mods)[:90], nil, "list of modules is cut off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inv := merged(t, []item{exe("app", elf(c.body))})
			wantNames(t, inv, c.want...)
			if c.gap == "" {
				wantGaps(t, inv)
			} else {
				wantGaps(t, inv, c.gap)
			}
		})
	}
}

// A Go program may carry another one as data. The one in the writable segment
// is its own.
func TestGoProgramInAProgram(t *testing.T) {
	head := make([]byte, 64+56)
	copy(head, "\x7fELF\x02\x01\x01")
	head[32], head[54], head[56] = 64, 56, 1
	head[64], head[68] = 1, 6 // loaded, writable
	head[64+8+1] = 0x10       // at 4096
	head[64+32+1] = 0x10      // 4096 bytes
	inner, own := goInfo("go1.20", ""), goInfo("go1.22.1", "")
	body := string(head) + strings.Repeat("\x00", 8)
	body += inner + strings.Repeat("\x00", 4096-len(body)-len(inner)) + own + strings.Repeat("\x00", 4096)
	wantNames(t, merged(t, []item{exe("app", body)}), "Go stdlib 1.22.1 @0")
}

func TestRust(t *testing.T) {
	pack := func(text string) string {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	list := `{"packages":[{"name":"serde","version":"1.0.190","source":"crates.io"},{"name":"cc","version":"1.0.83","source":"crates.io","kind":"build"},{"name":"app","version":"0.1.0","source":"local","root":true}]}`
	fill := strings.Repeat("x\x9c\x04x\xda\x02", 50)
	inv := merged(t, []item{exe("app", elf(fill+pack(list)+fill))})
	wantNames(t, inv, "crates.io serde 1.0.190 @0", "crates.io app 0.1.0 @0")
	wantGaps(t, inv)
	wantNames(t, merged(t, []item{exe("app", elf(pack(`{"other":1}`)))}))
	inv = merged(t, []item{exe("app", elf(pack(list)[:60]))})
	wantGaps(t, inv, "unpack list of crates")
	inv = merged(t, []item{exe("app", elf(pack(`{"packages":[{]}`)))})
	wantGaps(t, inv, "read list of crates")
	inv = merged(t, []item{exe("app", elf(strings.Repeat("x\x9c\x04", maxRustTries+10)))})
	wantGaps(t, inv, "gave up looking")
}
