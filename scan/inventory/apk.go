package inventory

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

const apkPlugin = "apk"

// readApk reads Alpine's database of installed packages: lines of one letter,
// a colon and a value; an empty line ends a package. F names a directory, R a
// file in the last one.
func readApk(f *file, out *result) error {
	var errs []error
	var p found
	dir := ""
	seen, full := false, false
	flush := func() {
		switch {
		case !seen:
		case p.Name == "" || p.Version == "":
			if len(errs) < 10 {
				errs = append(errs, fmt.Errorf("a package has no name or no version (%q, %q)", p.Name, p.Version))
			}
		default:
			if p.Source == p.Name {
				p.Source, p.SourceVersion = "", ""
			}
			if p.Source != "" {
				p.SourceVersion = p.Version
			}
			if err := out.system(p); err != nil {
				full = errors.Is(err, errFull)
				if len(errs) < 10 || full {
					errs = append(errs, err)
				}
			}
		}
		p, dir, seen = found{}, "", false
	}
	s := bufio.NewScanner(f.reader())
	s.Buffer(make([]byte, 0, 16<<10), maxLine)
	for !full && s.Scan() {
		line := s.Bytes()
		if len(line) == 0 {
			flush()
			continue
		}
		if len(line) < 2 || line[1] != ':' {
			if len(errs) < 10 {
				errs = append(errs, fmt.Errorf("line %.40q is no field", line))
			}
			continue
		}
		seen = true
		v := line[2:]
		switch line[0] {
		case 'P':
			p.Name = string(v)
		case 'V':
			p.Version = string(v)
		case 'A':
			p.Arch = string(v)
		case 'o':
			p.Source = string(v)
		case 'L':
			p.Licenses = []string{string(v)}
		case 'F':
			dir = string(v)
		case 'R':
			name := []byte(dir)
			if dir != "" {
				name = append(name, '/')
			}
			if len(p.owns) == maxOwned {
				errs, full = append(errs, fmt.Errorf("package %.40q owns more than %d files", p.Name, maxOwned)), true
			} else if name = append(name, v...); mayMatter(name) {
				p.owns = append(p.owns, hashPath(string(name)))
			}
		}
	}
	flush()
	if err := s.Err(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

const pacmanPlugin = "pacman"

// readPacman reads local/NAME-VERSION/desc of Arch Linux: a field's name
// between percent signs, then its values, one a line.
func readPacman(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	field := map[string][]string{}
	name := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case len(line) > 2 && line[0] == '%' && line[len(line)-1] == '%':
			name = line[1 : len(line)-1]
		case line == "":
			name = ""
		case name != "":
			field[name] = append(field[name], line)
		}
	}
	first := func(n string) string {
		if len(field[n]) == 0 {
			return ""
		}
		return field[n][0]
	}
	p := scan.Package{Name: first("NAME"), Version: first("VERSION"), Arch: first("ARCH"), Source: first("BASE"), Licenses: field["LICENSE"]}
	if p.Name == "" || p.Version == "" {
		return fmt.Errorf("package has no name or no version (%q, %q)", p.Name, p.Version)
	}
	if p.Source == p.Name {
		p.Source = ""
	}
	if p.Source != "" {
		p.SourceVersion = p.Version
	}
	return out.system(found{Package: p})
}

// readPacmanFiles reads local/NAME-VERSION/files, the file list beside desc.
func readPacmanFiles(f *file, out *result) error {
	dir := strings.TrimSuffix(strings.TrimPrefix(f.path, pacmanDir), "/files")
	// NAME-VERSION-RELEASE: the name may have dashes of its own.
	for range 2 {
		if i := strings.LastIndexByte(dir, '-'); i > 0 {
			dir = dir[:i]
		}
	}
	o := &ownerList{name: dir}
	err := eachLine(f.reader(), func(line []byte) {
		if len(line) > 0 && line[0] != '%' && line[len(line)-1] != '/' && mayMatter(line) {
			o.hashes = append(o.hashes, hashPath(string(line)))
		}
	}, maxOwned)
	out.owned = o
	return err
}

const pacmanDir = "var/lib/pacman/local/"
