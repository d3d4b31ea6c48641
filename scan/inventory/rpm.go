package inventory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/inventory/rpmdb"
)

const rpmPlugin = "rpm"

// rpmDirs are where distributions keep rpm's database, rpmFiles its names.
var (
	rpmDirs  = []string{"var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"}
	rpmFiles = []string{"rpmdb.sqlite", "Packages.db", "Packages"}
)

func isRPMDatabase(p string) bool {
	for _, d := range rpmDirs {
		if strings.HasPrefix(p, d) && !strings.Contains(p[len(d):], "/") {
			return true
		}
	}
	return false
}

// readRPM reads rpm's database. Public keys are in it as packages of their
// own, but are no software.
func readRPM(f *file, out *result) error {
	var errs []error
	note := func(err error) {
		if len(errs) < 10 {
			errs = append(errs, err)
		}
	}
	err := rpmdb.Read(f.at, f.size, func(header []byte) error {
		h, err := rpmdb.Parse(header)
		if err != nil {
			if errs = append(errs, err); len(errs) > 10 {
				return errors.New("too many damaged headers")
			}
			return nil
		}
		if h.Name == "gpg-pubkey" {
			return nil
		}
		p := found{Package: scan.Package{Name: h.Name, Version: h.Version, Arch: h.Arch, Module: h.Module}, vendor: h.Vendor}
		if h.Release != "" {
			p.Version += "-" + h.Release
		}
		epoch := ""
		if h.Epoch > 0 {
			epoch = strconv.Itoa(h.Epoch) + ":"
		}
		p.Version = epoch + p.Version
		if h.License != "" {
			p.Licenses = []string{h.License}
		}
		if name, version, ok := sourceRPM(h.SourceRPM); ok {
			// The epoch of the source is that of its packages, by convention.
			version = epoch + version
			if name != p.Name || version != p.Version {
				p.Source, p.SourceVersion = name, version
			}
		} else if h.SourceRPM != "" && h.SourceRPM != "(none)" {
			note(fmt.Errorf("package %s: source %q is no name of a source package", h.Name, h.SourceRPM))
		}
		for _, path := range h.Files {
			if b := []byte(strings.TrimPrefix(path, "/")); mayMatter(b) {
				p.owns = append(p.owns, hashPath(string(b)))
			}
		}
		if err := out.system(p); errors.Is(err, errFull) {
			return err
		} else if err != nil {
			note(err)
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// readRPMLog refuses the write-ahead log of the SQLite database, which is empty
// unless rpm was interrupted.
func readRPMLog(f *file, _ *result) error {
	if f.size > 0 {
		return fmt.Errorf("the database has a write-ahead log of %d bytes, which is not read; run rpm --rebuilddb in the build", f.size)
	}
	return nil
}

// sourceRPM takes "name-version-release.src.rpm" apart.
func sourceRPM(file string) (name, version string, ok bool) {
	s, ok := strings.CutSuffix(file, ".src.rpm")
	if !ok {
		if s, ok = strings.CutSuffix(file, ".nosrc.rpm"); !ok {
			return "", "", false
		}
	}
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return "", "", false
	}
	j := strings.LastIndexByte(s[:i], '-')
	if j <= 0 {
		return "", "", false
	}
	return s[:j], s[j+1:], true
}
