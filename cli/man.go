package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/gabion-dev/gabion/internal/term"
)

//go:generate go run ./gendocs ../docs

func manCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Example: `  gabion man /usr/local/share/man/man1
  gabion man . && man ./gabion-policy.1`,
		Args: arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			pages, err := ManPages()
			if err == nil {
				err = os.MkdirAll(args[0], 0o755)
			}
			for name, page := range pages {
				if err == nil {
					err = os.WriteFile(filepath.Join(args[0], name), page, 0o644)
				}
			}
			if err != nil {
				return exit(ExitFailed, fmt.Errorf("write manual pages: %w", err))
			}
			env.Err.Printf("%d manual pages are in %s; read one with: man %s\n", len(pages), args[0], filepath.Join(args[0], "gabion.1"))
			return nil
		},
	}
}

// documented is the command tree as documents show it: the same on every
// machine and for every user.
func documented() *cobra.Command {
	quiet := term.New(io.Discard)
	root := Root(&Env{In: strings.NewReader(""), Out: quiet, Err: quiet, Places: rootPlaces()})
	root.DisableAutoGenTag = true
	return root
}

// eachCommand calls fn with c and every command below that people use.
func eachCommand(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			eachCommand(sub, fn)
		}
	}
}

// dateOfPage is the third field of a manual page's heading.
var dateOfPage = regexp.MustCompile(`(?m)^(\.TH "[^"]*" "[^"]*") "[^"]*"`)

// ManPages makes the manual page of every command, by file name. They carry no
// date: the same sources make the same pages.
func ManPages() (map[string][]byte, error) {
	pages := map[string][]byte{}
	var failed error
	eachCommand(documented(), func(c *cobra.Command) {
		var b bytes.Buffer
		if err := doc.GenMan(c, &doc.GenManHeader{Section: "1", Source: "Gabion", Manual: "Gabion manual"}, &b); err != nil {
			failed = fmt.Errorf("make manual page of %s: %w", c.CommandPath(), err)
		}
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		pages[name] = dateOfPage.ReplaceAll(b.Bytes(), []byte(`$1 ""`))
	})
	return pages, failed
}

// Reference writes the whole command line as one page of Markdown.
func Reference(w io.Writer) error {
	var b bytes.Buffer
	root := documented()
	b.WriteString("# Command line\n\n<!-- Made by `go generate ./cli` from the command tree; edit the commands, not this page. -->\n\n")
	eachCommand(root, func(c *cobra.Command) {
		fmt.Fprintf(&b, "- [`%s`](#%s): %s\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	})
	eachCommand(root, func(c *cobra.Command) {
		fmt.Fprintf(&b, "\n## %s\n\n```\n", c.CommandPath())
		writeHelp(c, term.New(&b))
		b.WriteString("```\n")
	})
	b.WriteString("\nThe exit codes in full: [exit-codes.md](exit-codes.md).\n")
	_, err := w.Write(b.Bytes())
	return err
}
