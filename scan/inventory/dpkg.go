package inventory

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// Names of the plugins for Debian's packages; distroless images have one
// file per package in status.d instead of one status file.
const (
	dpkgPlugin    = "dpkg"
	statusdPlugin = "dpkg-status.d"
)

// maxLine bounds one line of a text file; longer ones are an error.
const maxLine = 1 << 20

// readDpkg reads /var/lib/dpkg/status or one file of status.d. Packages of
// which only the configuration is left are not installed.
func readDpkg(f *file, out *result) error {
	return eachParagraph(f.reader(), func(field map[string]string) error {
		name, version := field["package"], field["version"]
		if name == "" {
			return fmt.Errorf("a paragraph has no Package field")
		}
		if status, ok := field["status"]; ok {
			words := strings.Fields(status)
			if len(words) != 3 {
				return fmt.Errorf("package %s: status %q has not three words", name, status)
			}
			if words[2] == "not-installed" || words[2] == "config-files" {
				return nil
			}
		}
		if version == "" {
			return fmt.Errorf("package %s has no version", name)
		}
		p := scan.Package{Name: name, Version: version, Arch: field["architecture"]}
		if source := field["source"]; source != "" {
			p.Source, p.SourceVersion, _ = strings.Cut(source, " ")
			p.SourceVersion = strings.Trim(p.SourceVersion, " ()")
		}
		if p.Source == name {
			p.Source = ""
		}
		if p.SourceVersion == version {
			p.SourceVersion = ""
		}
		if p.SourceVersion != "" && p.Source == "" {
			p.Source = name
		}
		if p.Source != "" && p.SourceVersion == "" {
			p.SourceVersion = version
		}
		return out.system(found{Package: p, vendor: cmp.Or(field["origin"], field["vendor"], field["maintainer"])})
	})
}

// dpkgFields are the fields that readDpkg uses.
var dpkgFields = map[string]bool{
	"package": true, "version": true, "architecture": true, "source": true, "status": true,
	"maintainer": true, "origin": true, "vendor": true,
}

// eachParagraph reads control files (deb-control(5)) and hands over the fields
// of dpkgFields, names in lower case. A broken paragraph does not end it: the
// errors are joined.
func eachParagraph(r io.Reader, fn func(map[string]string) error) error {
	var errs []error
	field := map[string]string{}
	any := false
	full := false
	flush := func() {
		if any {
			err := fn(field)
			full = full || errors.Is(err, errFull)
			if err != nil && (len(errs) < 10 || full) {
				errs = append(errs, err)
			}
		}
		clear(field)
		any = false
	}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 16<<10), maxLine)
	for !full && s.Scan() {
		line := s.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			flush()
			continue
		}
		if line[0] == ' ' || line[0] == '\t' || line[0] == '#' {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			if len(errs) < 10 {
				errs = append(errs, fmt.Errorf("line %.40q is no field", line))
			}
			continue
		}
		any = true
		if lower := strings.ToLower(string(name)); dpkgFields[lower] {
			field[lower] = string(bytes.TrimSpace(value))
		}
	}
	flush()
	if err := s.Err(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// readDpkgList reads info/NAME.list or info/NAME:ARCH.list: one path a line.
func readDpkgList(f *file, out *result) error {
	name, arch, _ := strings.Cut(strings.TrimSuffix(path.Base(f.path), ".list"), ":")
	o := &ownerList{name: name, arch: arch}
	err := eachLine(f.reader(), func(line []byte) {
		if p, ok := bytes.CutPrefix(line, []byte("/")); ok && mayMatter(p) {
			o.hashes = append(o.hashes, hashPath(string(p)))
		}
	}, maxOwned)
	out.owned = o
	return err
}

// readMD5Sums reads status.d/NAME.md5sums, the file list of distroless: digest,
// two blanks, path.
func readMD5Sums(f *file, out *result) error {
	o := &ownerList{name: strings.TrimSuffix(path.Base(f.path), ".md5sums")}
	err := eachLine(f.reader(), func(line []byte) {
		if _, p, ok := bytes.Cut(line, []byte("  ")); ok {
			p = bytes.TrimPrefix(bytes.TrimPrefix(p, []byte("./")), []byte("/"))
			if mayMatter(p) {
				o.hashes = append(o.hashes, hashPath(string(p)))
			}
		}
	}, maxOwned)
	out.owned = o
	return err
}

// maxOwned bounds the list of files of one package.
const maxOwned = 1_000_000

// eachLine hands over the lines of a text, at most as many as most says.
func eachLine(r io.Reader, fn func([]byte), most int) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 16<<10), maxLine)
	for n := 0; s.Scan(); n++ {
		if n == most {
			return fmt.Errorf("it has more than %d lines", most)
		}
		fn(s.Bytes())
	}
	return s.Err()
}

// mayMatter leaves out of file lists what can be neither program nor package:
// documentation, translations and headers are most of a distribution.
func mayMatter(p []byte) bool {
	for _, dir := range uninteresting {
		if bytes.HasPrefix(p, dir) {
			return false
		}
	}
	return !bytes.HasSuffix(p, []byte(".pyc"))
}

var uninteresting = [][]byte{
	[]byte("usr/share/doc/"), []byte("usr/share/man/"), []byte("usr/share/locale/"), []byte("usr/include/"),
	[]byte("usr/share/zoneinfo/"), []byte("usr/share/info/"), []byte("usr/share/icons/"), []byte("usr/share/fonts/"),
	[]byte("usr/share/lintian/"), []byte("usr/share/i18n/"), []byte("usr/share/bug/"),
}

// docDir is where Debian's packages say their licences.
const docDir = "usr/share/doc/"

// readCopyright reads the licences of a machine-readable copyright file
// (copyright-format 1.0). Others are free text, of which only the common
// licences they refer to are taken.
func readCopyright(f *file, out *result) error {
	d := &doc{name: path.Base(path.Dir(f.path))}
	var common []string
	formal := false
	err := eachLine(f.reader(), func(line []byte) {
		switch {
		case bytes.HasPrefix(line, []byte("Format:")):
			formal = bytes.Contains(line, []byte("copyright-format")) || bytes.Contains(line, []byte("dep5"))
		case formal && bytes.HasPrefix(line, []byte("License:")):
			d.licenses = addOnce(d.licenses, string(bytes.TrimSpace(line[len("License:"):])))
		case !formal:
			if _, rest, ok := bytes.Cut(line, []byte("/usr/share/common-licenses/")); ok {
				end := bytes.IndexFunc(rest, func(r rune) bool {
					return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '+')
				})
				if end < 0 {
					end = len(rest)
				}
				common = addOnce(common, strings.TrimRight(string(rest[:end]), ".-"))
			}
		}
	}, maxOwned)
	if !formal {
		d.licenses = common
	}
	out.doc = d
	return err
}

// addOnce adds a word to a short list unless it is empty or there. The list
// stays short enough for anyone to read.
func addOnce(list []string, word string) []string {
	if word == "" || len(word) > 200 || len(list) >= 50 {
		return list
	}
	for _, have := range list {
		if have == word {
			return list
		}
	}
	return append(list, word)
}

// docAlias recognises that a package's documentation is that of another one,
// which is a symbolic link in Debian.
func docAlias(p, target string) *doc {
	name, ok := strings.CutPrefix(p, docDir)
	if !ok || strings.Contains(name, "/") {
		return nil
	}
	t := strings.TrimPrefix(path.Join("/"+docDir, target), "/"+docDir)
	if path.IsAbs(target) {
		t = strings.TrimPrefix(path.Clean(target), "/"+docDir)
	}
	if t == "" || strings.Contains(t, "/") || t == name {
		return nil
	}
	return &doc{name: name, alias: t}
}
