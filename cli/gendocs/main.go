// Command gendocs writes what the documentation says of the command line: the
// manual pages into DIR/man and the reference page into DIR/reference.
//
//	go run ./cli/gendocs docs
//
// It knows nothing of the commands; it asks package cli. Pages of commands that
// are gone are removed.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gabion-dev/gabion/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	pages, err := cli.ManPages()
	if err != nil {
		return err
	}
	man := filepath.Join(dir, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(man, "*.1"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if _, ok := pages[filepath.Base(path)]; !ok {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(man, name), page, 0o644); err != nil {
			return err
		}
	}
	var ref bytes.Buffer
	if err := cli.Reference(&ref); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "reference", "cli.md"), ref.Bytes(), 0o644)
}
