package inventory

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const pythonPlugin = "python-package"

// maxMetadata bounds the metadata of one Python package; its head is all that
// is used, but descriptions can be long.
const maxMetadata = 4 << 20

// isPythonMetadata selects the metadata of installed wheels and eggs.
func isPythonMetadata(p string) bool {
	dir, base := path.Base(path.Dir(p)), path.Base(p)
	switch base {
	case "METADATA":
		return strings.HasSuffix(dir, ".dist-info")
	case "PKG-INFO":
		return strings.HasSuffix(dir, ".egg-info") || dir == "EGG-INFO"
	}
	return strings.HasSuffix(base, ".egg-info")
}

func readPython(f *file, out *result) error {
	return pythonMetadata(io.LimitReader(f.reader(), maxMetadata), out, "")
}

// readPythonZip reads wheels and zipped eggs.
func readPythonZip(f *file, out *result) error {
	if f.size == 0 {
		return nil
	}
	z, err := openZip(f.at, f.size)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range z.File {
		if !isPythonMetadata(e.Name) {
			continue
		}
		if err := withEntry(e, func(r io.Reader) error {
			return pythonMetadata(io.LimitReader(r, maxMetadata), out, "/"+f.path+"!/"+e.Name)
		}); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Name, err))
		}
	}
	return errors.Join(errs...)
}

// withEntry opens an entry of a zip archive for fn.
func withEntry(e *zip.File, fn func(io.Reader) error) error {
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return fn(r)
}

// pythonMetadata reads the head of core metadata: fields like those of mail.
func pythonMetadata(r io.Reader, out *result, where string) error {
	field := map[string]string{}
	classifiers := []string(nil)
	body := false
	err := eachLine(r, func(line []byte) {
		if body = body || len(bytes.TrimSpace(line)) == 0; body || line[0] == ' ' || line[0] == '\t' {
			return
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return
		}
		switch key, v := strings.ToLower(string(name)), string(bytes.TrimSpace(value)); key {
		case "name", "version", "license", "license-expression":
			if field[key] == "" {
				field[key] = v
			}
		case "classifier":
			if l, ok := strings.CutPrefix(v, "License :: "); ok {
				classifiers = append(classifiers, l[strings.LastIndex(l, ":")+1:])
			}
		}
	}, maxMetadata)
	if err != nil && (field["name"] == "" || field["version"] == "") {
		return err
	}
	if field["name"] == "" || field["version"] == "" {
		return fmt.Errorf("package has no name or no version (%q, %q)", field["name"], field["version"])
	}
	p := language("pypi", field["name"], field["version"])
	p.Path = where
	switch {
	case field["license-expression"] != "":
		p.Licenses = []string{field["license-expression"]}
	case field["license"] != "" && field["license"] != "UNKNOWN" && len(field["license"]) < 100:
		p.Licenses = []string{field["license"]}
	default:
		for _, c := range classifiers {
			p.Licenses = addOnce(p.Licenses, strings.TrimSpace(c))
		}
	}
	out.add(p)
	return nil
}
