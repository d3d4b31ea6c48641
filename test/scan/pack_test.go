package scan_test

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	_ "modernc.org/sqlite" // writes the databases of rpm
)

// software is a package as a distribution installs it.
type software struct {
	name, version string // version with epoch and release
	source        string // of the source package; "": its own name
	sourceVersion string // "": its own version
	module        string // rpm
	vendor        string // rpm, or Maintainer of dpkg
}

func dpkgStatus(list ...software) entry {
	return file("var/lib/dpkg/status", dpkgText(list...))
}

func dpkgText(list ...software) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "Package: %s\nStatus: install ok installed\nPriority: optional\nArchitecture: amd64\nVersion: %s\n", s.name, s.version)
		if s.source != "" {
			fmt.Fprintf(&b, "Source: %s", s.source)
			if s.sourceVersion != "" {
				fmt.Fprintf(&b, " (%s)", s.sourceVersion)
			}
			b.WriteString("\n")
		}
		if s.vendor != "" {
			fmt.Fprintf(&b, "Maintainer: %s\n", s.vendor)
		}
		b.WriteString("Description: something\n that goes on\n\n")
	}
	return b.String()
}

func apkInstalled(list ...software) entry {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "C:Q1abc=\nP:%s\nV:%s\nA:x86_64\nL:MIT\n", s.name, s.version)
		if s.source != "" {
			fmt.Fprintf(&b, "o:%s\n", s.source)
		}
		fmt.Fprintf(&b, "F:usr/lib\nR:lib%s.so\n\n", s.name)
	}
	return file("lib/apk/db/installed", b.String())
}

func pacmanLocal(list ...software) (out []entry) {
	for _, s := range list {
		out = append(out, file("var/lib/pacman/local/"+s.name+"-"+s.version+"/desc",
			fmt.Sprintf("%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%BASE%%\n%s\n\n%%ARCH%%\nx86_64\n\n", s.name, s.version, s.source)))
	}
	return out
}

func chiselManifest(t testing.TB, list ...software) entry {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, `{"jsonwall":"1.0","schema":"1.0","count":%d}`+"\n", len(list)+1)
	for _, s := range list {
		fmt.Fprintf(w, `{"kind":"package","name":%q,"version":%q,"sha256":"x","arch":"amd64"}`+"\n", s.name, s.version)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file("var/lib/chisel/manifest.wall", b.String())
}

// rpmHeader writes the header of a package as rpm keeps it (rpm's lib/header.c).
func rpmHeader(s software) []byte {
	epoch, rest, ok := strings.Cut(s.version, ":")
	if !ok {
		epoch, rest = "", s.version
	}
	version, release, _ := strings.Cut(rest, "-")
	source := s.source
	if source == "" {
		source = s.name
	}
	sourceVersion := s.sourceVersion
	if sourceVersion == "" {
		sourceVersion = rest
	}
	type tag struct {
		id, kind uint32
		data     []byte
	}
	str := func(id uint32, v string) tag { return tag{id, 6, append([]byte(v), 0)} }
	tags := []tag{str(1000, s.name), str(1001, version), str(1002, release)}
	if epoch != "" {
		n := uint32(0)
		fmt.Sscan(epoch, &n)
		tags = append(tags, tag{1003, 4, binary.BigEndian.AppendUint32(nil, n)})
	}
	tags = append(tags, str(1011, s.vendor), str(1014, "MIT"), str(1022, "x86_64"), str(1044, source+"-"+sourceVersion+".src.rpm"))
	if s.module != "" {
		tags = append(tags, str(5096, s.module))
	}
	var index, data []byte
	for _, t := range tags {
		for t.kind == 4 && len(data)%4 != 0 {
			data = append(data, 0)
		}
		for _, v := range []uint32{t.id, t.kind, uint32(len(data)), 1} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, t.data...)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(data)))
	return slices.Concat(head, index, data)
}

// rpmSQLite is the database of rpm since 4.16.
func rpmSQLite(t testing.TB, path string, list ...software) entry {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if _, err := db.Exec("INSERT INTO Packages (blob) VALUES (?)", rpmHeader(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return file(path, string(b))
}

// rpmNDB is SUSE's database of rpm (rpm's lib/backend/ndb/rpmpkg.c): a header,
// one page of slots, blobs in blocks of 16 bytes.
func rpmNDB(path string, list ...software) entry {
	le := binary.LittleEndian
	page := make([]byte, 4096)
	copy(page, "RpmP")
	le.PutUint32(page[8:], 1)
	le.PutUint32(page[12:], 1) // pages of slots
	slot := 32
	for at := slot; at < len(page); at += 16 {
		copy(page[at:], "Slot") // free ones too
	}
	var blobs []byte
	for i, s := range list {
		h := rpmHeader(s)
		block := uint32(256 + len(blobs)/16)
		size := (16 + len(h) + 12 + 15) / 16 * 16
		b := make([]byte, size)
		copy(b, "BlbS")
		le.PutUint32(b[4:], uint32(i+1))
		le.PutUint32(b[8:], 1)
		le.PutUint32(b[12:], uint32(len(h)))
		copy(b[16:], h)
		le.PutUint32(b[size-8:], uint32(len(h)))
		copy(b[size-4:], "BlbE")
		le.PutUint32(page[slot+4:], uint32(i+1))
		le.PutUint32(page[slot+8:], block)
		le.PutUint32(page[slot+12:], uint32(size/16))
		slot += 16
		blobs = append(blobs, b...)
	}
	return file(path, string(page)+string(blobs))
}
