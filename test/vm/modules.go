package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Module is a kernel module as its own file describes it.
type Module struct {
	Name    string
	Depends []string
	// Aliases are the names by which the kernel asks for it, with * and ?.
	Aliases []string
	data    []byte
}

// modules reads the modules named and all that they depend on, each before
// those that need it. A name that the kernel has no file for is built in.
func modules(ctx context.Context, k Kernel, names ...string) ([]Module, error) {
	files := map[string]string{}
	err := filepath.WalkDir(k.Modules, func(path string, d fs.DirEntry, err error) error {
		if base, _, ok := strings.Cut(d.Name(), ".ko"); ok && err == nil {
			files[plain(base)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules of %s: %w", k.Release, err)
	}
	var out []Module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = plain(name)
		file, ok := files[name]
		if seen[name] || !ok {
			return nil
		}
		seen[name] = true
		data, err := readModule(ctx, file)
		if err != nil {
			return err
		}
		m, err := parseModule(name, data)
		if err != nil {
			return fmt.Errorf("read module %s: %w", file, err)
		}
		for _, d := range m.Depends {
			if err := add(d); err != nil {
				return err
			}
		}
		out = append(out, m)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// plain writes a module's name the one way of the two.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

func readModule(ctx context.Context, file string) ([]byte, error) {
	if strings.HasSuffix(file, ".ko") {
		return os.ReadFile(file)
	}
	if !strings.HasSuffix(file, ".xz") {
		return nil, fmt.Errorf("read module %s: unknown compression", file)
	}
	out, err := exec.CommandContext(ctx, "xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack module %s: %w", file, err)
	}
	return out, nil
}

// parseModule reads section .modinfo: strings "key=value", each ended by zero.
func parseModule(name string, data []byte) (Module, error) {
	m := Module{Name: name, data: data}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return m, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return m, fmt.Errorf("no section .modinfo")
	}
	info, err := s.Data()
	if err != nil {
		return m, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "alias":
			m.Aliases = append(m.Aliases, value)
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.Depends = append(m.Depends, d)
				}
			}
		}
	}
	return m, nil
}
