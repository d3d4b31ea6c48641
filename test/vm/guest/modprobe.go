package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/test/vm"
)

// modprobe loads the modules that the kernel asks for, by name or alias, and
// those that they depend on. What is not there is no error: the kernel asks
// for much that a machine may not have, and finds out itself.
func modprobe(args []string) error {
	text, err := os.ReadFile(vm.ModuleIndex)
	if err != nil {
		return err
	}
	var all []vm.Module
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("read index of modules: %w", err)
	}
	for _, name := range args {
		if strings.HasPrefix(name, "-") {
			continue
		}
		for _, m := range all {
			if !answers(m, name) {
				continue
			}
			if err := insert(all, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func answers(m vm.Module, name string) bool {
	name = strings.ReplaceAll(name, "-", "_")
	return m.Name == name || slices.ContainsFunc(m.Aliases, func(alias string) bool {
		ok, err := path.Match(strings.ReplaceAll(alias, "-", "_"), name)
		return err == nil && ok
	})
}

func insert(all []vm.Module, m vm.Module) error {
	for _, d := range m.Depends {
		i := slices.IndexFunc(all, func(o vm.Module) bool { return o.Name == strings.ReplaceAll(d, "-", "_") })
		if i < 0 {
			continue // built in
		}
		if err := insert(all, all[i]); err != nil {
			return err
		}
	}
	f, err := os.Open(vm.ModuleFile(m.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", m.Name, err)
	}
	return nil
}
