package rpmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// tag is one tag of a header in a test.
type tag struct {
	id, kind uint32
	count    uint32
	data     string
}

func str(id uint32, s string) tag { return tag{id, typeString, 1, s + "\x00"} }

// header makes a header as the database has it.
func header(tags ...tag) []byte {
	var index, data []byte
	for _, t := range tags {
		if t.kind == typeInt32 {
			for len(data)%4 != 0 {
				data = append(data, 0)
			}
		}
		for _, v := range []uint32{t.id, t.kind, uint32(len(data)), t.count} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, t.data...)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	return append(append(out, index...), data...)
}

func curl() []byte {
	return header(str(tagName, "curl"), str(tagVersion, "7.76.1"), str(tagRelease, "26.el9_3.2"), str(tagArch, "x86_64"),
		tag{tagEpoch, typeInt32, 1, "\x00\x00\x00\x01"}, tag{tagLicense, typeI18N, 1, "MIT\x00"}, str(tagVendor, "Red Hat, Inc."),
		str(tagSourceRPM, "curl-7.76.1-26.el9_3.2.src.rpm"), str(tagModularity, "curl:7:1:abc"), tag{9999, 4, 1, "junk"},
		tag{tagDirNames, typeStringArray, 2, "/usr/bin/\x00/usr/share/\x00"}, tag{tagBaseNames, typeStringArray, 2, "curl\x00x\x00"},
		tag{tagDirIndexes, typeInt32, 2, "\x00\x00\x00\x00\x00\x00\x00\x01"})
}

func TestParse(t *testing.T) {
	p, err := Parse(curl())
	if err != nil {
		t.Fatal(err)
	}
	want := Package{Name: "curl", Version: "7.76.1", Release: "26.el9_3.2", Arch: "x86_64", Epoch: 1, License: "MIT", Vendor: "Red Hat, Inc.",
		SourceRPM: "curl-7.76.1-26.el9_3.2.src.rpm", Module: "curl:7:1:abc", Files: []string{"/usr/bin/curl", "/usr/share/x"}}
	if fmt.Sprintf("%+v", p) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v\nwant %+v", p, want)
	}
	name, version := str(tagName, "a"), str(tagVersion, "1")
	for what, b := range map[string][]byte{
		"empty": nil, "cut off": curl()[:40], "no name": header(version), "no version": header(name),
		"number for a name": header(tag{tagName, typeInt32, 1, "\x00\x00\x00\x01"}, version),
		"text without end":  header(name, tag{tagVersion, typeString, 1, "1"}),
		"file without dir":  header(name, version, tag{tagBaseNames, typeStringArray, 1, "x\x00"}, tag{tagDirIndexes, typeInt32, 1, "\x00\x00\x00\x09"}),
		"files and dirs":    header(name, version, tag{tagBaseNames, typeStringArray, 1, "x\x00"}),
		"many files":        header(name, version, tag{tagBaseNames, typeStringArray, 1 << 31, "x\x00"}),
		"many dirs":         header(name, version, tag{tagDirIndexes, typeInt32, 1 << 31, "\x00\x00\x00\x00"}),
		"no epoch":          header(name, version, tag{tagEpoch, typeInt32, 0, ""}),
		"beyond the end":    append(append(binary.BigEndian.AppendUint32(nil, 1), 0, 0, 0, 0), "\x00\x00\x03\xe8\x00\x00\x00\x06\x00\x00\x00\x09\x00\x00\x00\x01"...),
		"too many tags":     bytes.Repeat([]byte{0xff}, 64),
	} {
		if p, err := Parse(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
}

// ndb makes a database of rpm's own format.
func ndb(headers ...[]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 4096)
	copy(b, "RpmP")
	le.PutUint32(b[12:], 1)
	for i := 32; i < 4096; i += 16 {
		copy(b[i:], "Slot")
	}
	for i, h := range headers {
		slot := b[32+16*i:]
		le.PutUint32(slot[4:], uint32(i+1))
		le.PutUint32(slot[8:], uint32(len(b)/16))
		blob := append([]byte("BlbS"), le.AppendUint32(nil, uint32(i+1))...)
		blob = le.AppendUint32(append(blob, 0, 0, 0, 0), uint32(len(h)))
		blob = append(blob, h...)
		for len(blob)%16 != 0 {
			blob = append(blob, 0)
		}
		b = append(b, blob...)
	}
	return b
}

// bdb makes a hash table of Berkeley DB with pages of 512 bytes.
func bdb(order binary.ByteOrder, headers ...[]byte) []byte {
	const size = 512
	page := func(kind byte) []byte { p := make([]byte, size); p[25] = kind; return p }
	meta, table := page(8), page(bdbHash)
	order.PutUint32(meta[12:], bdbHashMagic)
	order.PutUint32(meta[20:], size)
	order.PutUint16(table[20:], uint16(2*len(headers)))
	pages := [][]byte{meta, table}
	at := size
	for i, h := range headers {
		at -= 12
		ref := table[at:]
		ref[0] = bdbOffPage
		order.PutUint32(ref[4:], uint32(len(pages)))
		order.PutUint32(ref[8:], uint32(len(h)))
		order.PutUint16(table[bdbPageHeader+4*i:], uint16(at)) // the key, which nobody reads
		order.PutUint16(table[bdbPageHeader+4*i+2:], uint16(at))
		for len(h) > 0 {
			n := min(len(h), size-bdbPageHeader)
			p := page(bdbOverflow)
			copy(p[bdbPageHeader:], h[:n])
			order.PutUint16(p[22:], uint16(n))
			if h = h[n:]; len(h) > 0 {
				order.PutUint32(p[16:], uint32(len(pages)+1))
			}
			pages = append(pages, p)
		}
	}
	order.PutUint32(meta[32:], uint32(len(pages)-1))
	return bytes.Join(pages, nil)
}

func read(b []byte) (names []string, err error) {
	err = Read(bytes.NewReader(b), int64(len(b)), func(h []byte) error {
		p, err := Parse(h)
		names = append(names, p.Name)
		return err
	})
	return names, err
}

func long(name string) []byte {
	return header(str(tagName, name), str(tagVersion, "1"), str(9000, strings.Repeat("x", 3000)))
}

func TestFormats(t *testing.T) {
	for what, b := range map[string][]byte{
		"ndb": ndb(curl(), long("b")), "bdb": bdb(binary.LittleEndian, curl(), long("b")), "bdb, other order": bdb(binary.BigEndian, curl(), long("b")),
	} {
		if got, err := read(b); err != nil || !slices.Equal(got, []string{"curl", "b"}) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

func TestDamaged(t *testing.T) {
	change := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	good := func() []byte { return bdb(binary.LittleEndian, long("b")) }
	for what, b := range map[string][]byte{
		"empty": nil, "text": bytes.Repeat([]byte("x"), 64),
		"ndb of another version": change(ndb(), 4, 9), "ndb without pages": change(ndb(), 12, 0), "ndb with many pages": change(ndb(), 12, 0xff, 0xff),
		"ndb without slot": change(ndb(), 32, 'x'), "ndb blob beyond the end": change(ndb(curl()), 32+8, 0xff, 0xff), "ndb blob of another": change(ndb(curl()), 4096+4, 7),
		"ndb large blob": change(ndb(curl()), 4096+12, 0xff, 0xff, 0xff, 0xff),
		"bdb page size":  change(good(), 20, 1), "bdb many pages": change(good(), 32, 0xff, 0xff), "bdb odd items": change(good(), 512+20, 1),
		"bdb many items": change(good(), 512+20, 0xfe, 0xff), "bdb circle": change(good(), 1024+16, 2), "bdb beyond the end": change(good(), 1024+16, 99),
		"bdb page of another kind": change(good(), 1024+25, 1), "bdb large page": change(good(), 1024+22, 0xff, 0xff), "bdb length": change(good(), 512+500+8, 1),
		"sqlite alone": append([]byte("SQLite format 3\x00"), make([]byte, 500)...), "sqlite cut off": append([]byte("SQLite format 3\x00"), make([]byte, 20)...),
	} {
		if got, err := read(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	stop := errors.New("stop")
	for _, b := range [][]byte{ndb(curl(), curl()), bdb(binary.LittleEndian, curl(), curl())} {
		n := 0
		if err := Read(bytes.NewReader(b), int64(len(b)), func([]byte) error { n++; return stop }); err != stop || n != 1 {
			t.Errorf("%d calls, %v", n, err)
		}
	}
}

// TestRealRPM reads what rpm itself writes. Debian's knows SQLite alone.
func TestRealRPM(t *testing.T) {
	rpm, err := exec.LookPath("rpm")
	testkit.Require(t, "rpm", err == nil, "install rpm")
	rpmbuild, err := exec.LookPath("rpmbuild")
	testkit.Require(t, "rpm", err == nil, "install rpmbuild")
	top := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	var rpms []string
	for i := range 12 {
		spec := filepath.Join(top, fmt.Sprintf("p%d.spec", i))
		var files strings.Builder
		for k := range 400 * i { // the header of the largest takes many overflow pages
			fmt.Fprintf(&files, "%%ghost /opt/p%d/some/rather/long/folder/%d/file%d\n", i, k%7, k)
		}
		text := fmt.Sprintf("Name: p%d\nVersion: 1.%d\nRelease: 2.el9\nEpoch: %d\nSummary: x\nLicense: MIT\nVendor: Nobody\nBuildArch: noarch\n%%description\nx\n%%files\n%s", i, i, i%2, files.String())
		if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run(rpmbuild, "-bb", "--quiet", "--define", "_topdir "+top, "--define", "modularitylabel m:s:1:c", spec)
	}
	rpms, err = filepath.Glob(top + "/RPMS/*/*.rpm")
	if err != nil || len(rpms) != 12 {
		t.Fatalf("built %v, %v", rpms, err)
	}
	db := filepath.Join(t.TempDir(), "db")
	args := []string{"--define", "_db_backend sqlite", "--dbpath", db}
	run(rpm, append(args, "--initdb")...)
	run(rpm, append(append(args, "-i", "--justdb", "--nodeps", "--nosignature", "--nodigest"), rpms...)...)
	query := exec.Command(rpm, append(args, "-qa", "--nosignature", "--nodigest", "--qf",
		"%{NAME} %{EPOCH} %{VERSION} %{RELEASE} %{ARCH} %{SOURCERPM} %{MODULARITYLABEL} [%{FILENAMES},]\\n")...)
	out, err := query.Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(db, "rpmdb.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = Read(bytes.NewReader(b), int64(len(b)), func(h []byte) error {
		p, err := Parse(h)
		line := fmt.Sprintf("%s %d %s %s %s %s %s ", p.Name, p.Epoch, p.Version, p.Release, p.Arch, p.SourceRPM, p.Module)
		for _, f := range p.Files {
			line += f + ","
		}
		got = append(got, line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if len(got) != len(want) {
		t.Fatalf("%d packages, want %d", len(got), len(want))
	}
	for i := range want {
		// rpm prints "(none)" for a package without files.
		if w := strings.TrimSuffix(want[i], "(none),"); got[i] != w {
			t.Errorf("got %.200q\nwant %.200q", got[i], w)
		}
	}
	for n := 0; n < len(b); n += len(b)/50 + 1 { // cut off anywhere: no panic, and no package more
		if names, _ := read(b[:n]); len(names) > len(got) {
			t.Errorf("%d packages in %d bytes", len(names), n)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(ndb(curl(), long("b")))
	f.Add(bdb(binary.LittleEndian, curl(), long("b")))
	f.Add(bdb(binary.BigEndian, curl()))
	if b, err := os.ReadFile("testdata/small.sqlite"); err == nil {
		f.Add(b)
	} else {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := Read(bytes.NewReader(b), int64(len(b)), func(h []byte) error {
			n++
			_, _ = Parse(h)
			return nil
		})
		if n > len(b) {
			t.Errorf("%d headers in %d bytes (%v)", n, len(b), err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(curl())
	f.Add(long("b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err == nil && (p.Name == "" || p.Version == "") {
			t.Errorf("package %+v", p)
		}
	})
}

func TestSmallSQLite(t *testing.T) {
	b, err := os.ReadFile("testdata/small.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(b); err != nil || !slices.Equal(got, []string{"curl", "b"}) {
		t.Errorf("%q, %v", got, err)
	}
}
