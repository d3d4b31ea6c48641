package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kernel is a distribution kernel, unpacked.
type Kernel struct {
	Series  string // "6.1"
	Release string // as uname prints it
	Image   string // the file to boot
	Modules string // the folder of its modules
}

// Fetch gives the newest cloud kernel of a series that the machine's package
// manager offers, unpacked below cache. A kernel that is there already is used
// as it is; remove the folder to get a newer one. Nothing is installed.
func Fetch(ctx context.Context, cache, series string) (Kernel, error) {
	dir, err := filepath.Abs(filepath.Join(cache, series))
	if err != nil {
		return Kernel{}, err
	}
	k, err := unpacked(dir, series)
	if !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	out, err := run(ctx, "", "apt-cache", "search", "--names-only", "^linux-image-"+regexp.QuoteMeta(series)+`[.].*-cloud-amd64$`)
	if err != nil {
		return Kernel{}, fmt.Errorf("look for a kernel %s: %w", series, err)
	}
	name := newest(out)
	if name == "" {
		return Kernel{}, fmt.Errorf("look for a kernel %s: the package manager offers none (apt-get update?)", series)
	}
	tmp := dir + ".part"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(tmp)
	if _, err := run(ctx, tmp, "apt-get", "download", name); err != nil {
		return Kernel{}, fmt.Errorf("download kernel %s: %w", series, err)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return Kernel{}, fmt.Errorf("download kernel %s: %d packages came", series, len(debs))
	}
	if _, err := run(ctx, tmp, "dpkg-deb", "-x", debs[0], tmp); err != nil {
		return Kernel{}, fmt.Errorf("unpack kernel %s: %w", series, err)
	}
	if err := os.Remove(debs[0]); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return Kernel{}, err
	}
	return unpacked(dir, series)
}

// unpacked describes what lies in dir; os.ErrNotExist when nothing does.
func unpacked(dir, series string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil {
		return Kernel{}, err
	}
	if len(images) == 0 {
		return Kernel{}, fmt.Errorf("find kernel in %s: %w", dir, os.ErrNotExist)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		if m := filepath.Join(dir, lib, release); isDir(m) {
			return Kernel{Series: series, Release: release, Image: images[0], Modules: m}, nil
		}
	}
	return Kernel{}, fmt.Errorf("find modules of kernel %s in %s: none (remove the folder to get it again)", release, dir)
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// newest picks the package of the highest version out of what "apt-cache
// search" printed.
func newest(found string) string {
	var names []string
	for line := range strings.Lines(found) {
		if name, _, ok := strings.Cut(line, " - "); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return slices.MaxFunc(names, func(a, b string) int {
		return cmp.Or(slices.Compare(numbers(a), numbers(b)), cmp.Compare(a, b))
	})
}

var digits = regexp.MustCompile(`\d+`)

func numbers(s string) []int {
	var out []int
	for _, d := range digits.FindAllString(s, -1) {
		n, err := strconv.Atoi(d)
		if err != nil { // too long to be part of a version
			return out
		}
		out = append(out, n)
	}
	return out
}

// run runs a program and gives its standard output.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
