package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report"
)

// Exit codes of gabion scan, which are those CI users expect of scanners.
const (
	ScanOK         = 0
	ScanFailed     = 1 // could not run: wrong usage, nothing to read
	ScanViolated   = 2 // ran, and a threshold was passed
	ScanIncomplete = 3 // ran, and something could not be examined
)

func scanCommand(env *Env) *cobra.Command {
	o := scanning.Options{Tool: version.Name + " " + version.Version}
	var outputs []string
	var template, author string
	var all, allowIncomplete bool
	var exceptions []string
	var remote scanRemote
	formats := make([]string, 0, 12)
	for _, f := range report.Formats() {
		formats = append(formats, f.Name)
	}
	cmd := &cobra.Command{
		Use:   "scan IMAGE|DIR|ARCHIVE|LAYOUT|SBOM",
		Short: "Find out what an image contains and what is known to be wrong with it",
		Long: `Reads an image layer by layer, without unpacking it, and reports the packages in
it, their known vulnerabilities in the order in which to look at them, secrets
(in deleted layers too), faults of the image's configuration, and licences.
Layers that were read once are remembered, so that scanning again costs next to
nothing. What could not be examined is told, and is never "no vulnerabilities".

What is scanned is found out by itself; a prefix says it: registry:REF,
docker:REF, containerd:REF, container:ID, tar:FILE, oci:DIR[:TAG], dir:DIR,
sbom:FILE. A plain word that is no file is a reference in a registry. Of a folder
everything is read, what git ignores too; links are not followed.

Nothing fails unless --fail-on or another flag below says what: a severity means
that and worse, "fixable" and "new" narrow what the others find, every other word
adds to it. Advisories come from the database inside this program, which needs no
network and says how old its facts are, until you have one: see gabion db.

Exit codes: 0 done, nothing fails; 1 could not run; 2 --fail-on or another
threshold was passed; 3 something could not be examined (see --allow-incomplete).
With both, 2.`,
		Example: `  gabion scan debian:12
  gabion scan . --fail-on high
  gabion scan image.tar -o table -o sarif=scan.sarif --fail-on critical,kev
  gabion scan container:3f2a1b -o cyclonedx=sbom.json
  gabion scan shop/web:2 --base debian:12 --new-only --fail-on medium
  gabion scan registry.example:5000/shop/web:2 --key cosign.pub --require-signature`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := scanOutputs(outputs, formats)
			if err != nil {
				return err
			}
			ro := report.Options{All: all, Author: author, Now: time.Now(), Colour: env.Out.Colour, Width: env.Out.Width}
			if ro.Template, err = templateOf(targets, template); err != nil {
				return exit(ScanFailed, err)
			}
			// What is bound to fail fails before the work, not after it.
			for _, t := range targets {
				if t.file != "" {
					if err := writable(t.file); err != nil {
						return exit(ScanFailed, err)
					}
				}
			}
			o.Environment(os.Getenv)
			remote.environment(os.Getenv)
			progress := newScanProgress(env)
			o.Progress = progress.show
			if o.Exceptions, err = exceptionsOf(env, exceptions); err != nil {
				return err
			}
			r, err := scanOne(cmd.Context(), env, args[0], o, remote, progress)
			if err = interrupted(cmd.Context(), err); err != nil {
				return exit(ScanFailed, err)
			}
			if err := writeReports(env, targets, r, ro); err != nil {
				return exit(ScanFailed, err)
			}
			return scanVerdict(env, r, allowIncomplete)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&outputs, "output", "o", nil, "print `FORMAT[=FILE]`, again for more: "+strings.Join(formats, ", "))
	f.StringVar(&template, "template", "", "the Go template of -o template is in `FILE`")
	f.StringVar(&author, "vex-author", "", "`NAME` makes the statements of -o openvex; default: this program")
	f.BoolVar(&all, "all", false, "show every package, and findings that decisions have settled")
	o.Flags(f)
	scanning.Group(f, scanning.GroupFails, func(f *pflag.FlagSet) {
		f.StringArrayVar(&exceptions, "exceptions", nil, "take Exception documents from `FILE` or folder")
		f.BoolVar(&allowIncomplete, "allow-incomplete", false, "exit with 0 though something could not be examined; it is still told")
	})
	scanning.Group(f, "A server that scans", func(f *pflag.FlagSet) {
		f.StringVar(&remote.url, "server", "", "let the server at `URL` scan: it shares layers and database between jobs; default: $"+serverEnv)
		f.StringVar(&remote.tokenFile, "server-token", "", "the token for it is in `FILE`; default: $"+tokenEnv+" is the token")
	})
	completeScan(cmd)
	completeOutputs(cmd, formats)
	cmd.AddCommand(scanDiffCommand(env), scanRegistryCommand(env), scanServeCommand(env))
	return cmd
}

// scans tells the commands that have the exit codes of a scanner.
func scans(c *cobra.Command) bool {
	for ; c != nil; c = c.Parent() {
		if c.Name() == "scan" {
			return true
		}
	}
	return false
}

// scanTarget is one form in which a report goes somewhere.
type scanTarget struct{ format, file string }

func scanOutputs(values, formats []string) ([]scanTarget, error) {
	if len(values) == 0 {
		return []scanTarget{{format: formats[0]}}, nil
	}
	var out []scanTarget
	onStdout := 0
	for _, v := range values {
		format, file, _ := strings.Cut(v, "=")
		if !contains(formats, format) {
			return nil, exit(ScanFailed, fmt.Errorf("unknown format %q of --output; use one of: %s", format, strings.Join(formats, ", ")))
		}
		if file == "" || file == "-" {
			file = ""
			if onStdout++; onStdout > 1 {
				return nil, exit(ScanFailed, errors.New("two formats on standard output; give all but one a file: -o FORMAT=FILE"))
			}
		}
		out = append(out, scanTarget{format, file})
	}
	return out, nil
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// templateFormat is the one format that --template belongs to.
const templateFormat = "template"

// templateOf reads the template of -o template; either without the other is a
// slip of whoever typed it.
func templateOf(targets []scanTarget, file string) (string, error) {
	wanted := slices.ContainsFunc(targets, func(t scanTarget) bool { return t.format == templateFormat })
	switch {
	case wanted && file == "":
		return "", errors.New("-o template: which one? name its file with --template")
	case !wanted && file != "":
		return "", errors.New("--template is for -o template, which is not asked for; add it")
	case file == "":
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read template: %w; check --template", err)
	}
	return string(text), nil
}

// interrupted says in words that a person or the build system ended it: half of
// a report is none.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: nothing is reported; what was read completely is remembered for the next time")
	}
	return err
}

func writeReports(env *Env, targets []scanTarget, r *scan.Report, ro report.Options) error {
	for _, t := range targets {
		if t.file == "" {
			if err := report.Write(env.Out.W, t.format, r, ro); err != nil {
				return err
			}
			continue
		}
		plain := ro
		plain.Colour, plain.Width = false, 0
		if err := writeFile(t.file, func(w io.Writer) error { return report.Write(w, t.format, r, plain) }); err != nil {
			return err
		}
	}
	return nil
}

// writable tells whether writeFile will be able to.
func writable(path string) error {
	switch fi, err := os.Stat(path); {
	case err == nil && fi.IsDir():
		return fmt.Errorf("write %s: it is a folder; name a file", path)
	case err == nil && !fi.Mode().IsRegular():
		return nil
	}
	tmp, err := tempBeside(path)
	if err != nil {
		return err
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
}

func tempBeside(path string) (*os.File, error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	var why *os.PathError
	if errors.As(err, &why) {
		return nil, fmt.Errorf("write %s: %w; name a file in a folder that is there and can be written", path, why.Err)
	}
	return tmp, err
}

// writeFile writes a file whole or not at all. What is no file (a device, a
// pipe) is written to and never replaced.
func writeFile(path string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return errors.Join(write(f), f.Close())
	}
	tmp, err := tempBeside(path)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = write(tmp)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// scanVerdict says on standard error why the exit code is not 0.
func scanVerdict(env *Env, r *scan.Report, allowIncomplete bool) error {
	incomplete := r.Incomplete()
	if n := len(r.Violations); n > 0 {
		why := fmt.Errorf("%d %s what this scan allows", n, plural(n, "thing is beyond", "things are beyond"))
		if incomplete {
			why = fmt.Errorf("%w, and the scan is incomplete", why)
		}
		return exit(ScanViolated, why)
	}
	if incomplete {
		n := 0
		for _, g := range r.Gaps {
			if !g.Minor {
				n++
			}
		}
		why := fmt.Errorf("the scan is incomplete: %d %s not be examined", n, plural(n, "thing could", "things could"))
		if allowIncomplete {
			env.Err.Printf("warning: %v\n", why)
			return nil
		}
		return exit(ScanIncomplete, why)
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// note tells a person something beside the report.
func note(env *Env, text string) { env.Err.Hang("note: ", len("note: "), term.T(text)) }
