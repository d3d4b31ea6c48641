package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// libraryDirs is where the machine's loader looks.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib", "/lib"}

// tool packs a program of the machine as /usr/bin/NAME, with the loader and
// the libraries it needs.
func (a *archive) tool(name string, packed map[string]bool) error {
	file, err := lookTool(name)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	a.file("/usr/bin/"+name, 0o755, data)
	return a.needs(file, packed)
}

func lookTool(name string) (string, error) {
	if file, err := exec.LookPath(name); err == nil {
		return file, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("pack %s: not installed", name)
}

func (a *archive) needs(file string, packed map[string]bool) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw := make([]byte, p.Filesz)
		if _, err := p.ReadAt(raw, 0); err != nil {
			return fmt.Errorf("read the loader's name in %s: %w", file, err)
		}
		loader := strings.TrimRight(string(raw), "\x00")
		if !packed[loader] {
			packed[loader] = true
			data, err := os.ReadFile(loader)
			if err != nil {
				return fmt.Errorf("pack loader: %w", err)
			}
			a.file(loader, 0o755, data)
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read what %s needs: %w", file, err)
	}
	for _, lib := range libs {
		if packed[lib] {
			continue
		}
		packed[lib] = true
		if err := a.library(lib, packed); err != nil {
			return fmt.Errorf("pack library %s for %s: %w", lib, file, err)
		}
	}
	return nil
}

func (a *archive) library(lib string, packed map[string]bool) error {
	for _, dir := range libraryDirs {
		file := filepath.Join(dir, lib)
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		a.file("/lib/x86_64-linux-gnu/"+lib, 0o755, data)
		return a.needs(file, packed)
	}
	return os.ErrNotExist
}
