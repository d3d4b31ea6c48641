package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed"
	"github.com/gabion-dev/gabion/scan/vuln/feed/fetch"
	"github.com/gabion-dev/gabion/scan/vuln/pack"
)

func dbCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Build, fetch and check the advisory database that scans match against",
		Long: `The database is one file. Without one of your own, scans use the snapshot of
facts inside this program, which needs no network and grows old.

Make one from published data with build, publish it in your registry with push,
and let every machine take it with update: whole or by what changed, verified
before it is used. For places without a network, export writes one file and
import takes it. The local database is ` + "`$XDG_CACHE_HOME/gabion/db`" + `.`,
		Example: `  gabion db status
  gabion db build --online --file advisories.gdb
  gabion db build osv-all.zip debian.json --file advisories.gdb
  gabion db push advisories.gdb registry.example:5000/security/advisories:1 --sign db.key
  gabion db update registry.example:5000/security/advisories:1 --key db.pub
  gabion db show CVE-2021-44228`,
	}
	cmd.AddCommand(dbStatusCommand(env), dbBuildCommand(env), dbUpdateCommand(env), dbImportCommand(env), dbExportCommand(env),
		dbVerifyCommand(env), dbShowCommand(env), dbPushCommand(env), dbMirrorCommand(env), dbKeygenCommand(env))
	return cmd
}

// dbFlags are those of commands that change or check the local database.
type dbFlags struct {
	dir             string
	keys            []string
	unsigned, force bool
	plainHTTP       bool
	progress        *dbProgress
}

func (d *dbFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.dir, "dir", "", "the local database is in `DIR`; default: the user's cache folder")
}

func (d *dbFlags) addTrust(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&d.keys, "key", nil, "trust databases signed by the public key in `FILE`; default: $"+pack.KeyEnv)
	cmd.Flags().BoolVar(&d.unsigned, "unsigned", false, "take a database that no known key signed")
	cmd.Flags().BoolVar(&d.force, "force", false, "take a database that is older than the one at hand")
}

func (d *dbFlags) place() (pack.Place, error) {
	if d.dir != "" {
		return pack.Place{Dir: d.dir}, nil
	}
	return pack.DefaultPlace(os.Getenv)
}

func (d *dbFlags) options(env *Env) (pack.Options, error) {
	keys, err := d.trusted()
	if err != nil {
		return pack.Options{}, err
	}
	p := &dbProgress{env: env}
	d.progress = p
	return pack.Options{
		Remote: d.remote(), Keys: keys, Unsigned: d.unsigned, Force: d.force, Now: time.Now,
		Progress: func(done, total int64) { p.show("fetching", done, total) },
	}, nil
}

func (d *dbFlags) remote() pack.Remote {
	return pack.Remote{PlainHTTP: d.plainHTTP, UserAgent: version.Name + "/" + version.Version}
}

// trusted reads the keys that were named, else those of the environment.
func (d *dbFlags) trusted() (pack.Keys, error) {
	var texts [][]byte
	for _, file := range d.keys {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		texts = append(texts, text)
	}
	if v := os.Getenv(pack.KeyEnv); len(d.keys) == 0 && v != "" {
		text := []byte(v)
		if !strings.Contains(v, "-----BEGIN") {
			var err error
			if text, err = os.ReadFile(v); err != nil {
				return nil, fmt.Errorf("read key named by $%s: %w", pack.KeyEnv, err)
			}
		}
		texts = append(texts, text)
	}
	var keys pack.Keys
	for _, text := range texts {
		k, err := pack.ParseKeys(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k...)
	}
	return keys, nil
}

// dbProgress is a line on a terminal that says how far something is.
type dbProgress struct {
	env   *Env
	last  time.Time
	drawn bool
}

func (p *dbProgress) show(what string, done, total int64) {
	if p.env.Err.Width <= 0 || time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.drawn = time.Now(), true
	line := fmt.Sprintf("%s %s", what, megabytes(done))
	if total > 0 {
		line += " of " + megabytes(total)
	}
	p.env.Err.Printf("\r\x1b[K%s", term.Clean(line))
}

func (p *dbProgress) end() {
	if p != nil && p.drawn {
		p.env.Err.Printf("\r\x1b[K")
	}
}

func dbStatusCommand(env *Env) *cobra.Command {
	var d dbFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which database scans use, and how old its facts are",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			st, err := d.status(time.Now(), os.Getenv)
			if err != nil {
				return exit(ExitFailed, err)
			}
			if output == "json" {
				return printJSON(env, st)
			}
			printDBStatus(env, st)
			return nil
		},
	}
	d.add(cmd)
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// status is that of the database which a scan without --db would use.
func (d *dbFlags) status(now time.Time, getenv func(string) string) (pack.Status, error) {
	describe := func(where string, db *vuln.DB, err error) (pack.Status, error) {
		if err != nil {
			return pack.Status{}, err
		}
		info := db.Info()
		st := pack.Status{Path: where, Database: info, DaysOld: int(now.Sub(info.Data) / day)}
		return st, db.Close()
	}
	if file := getenv(scanning.EnvDatabase); file != "" && d.dir == "" {
		db, err := vuln.Open(file)
		if err != nil {
			return pack.Status{}, fmt.Errorf("$%s: %w", scanning.EnvDatabase, err)
		}
		return describe(file, db, nil)
	}
	place, err := d.place()
	if err != nil {
		return pack.Status{}, err
	}
	st, err := place.Status(now)
	if errors.Is(err, pack.ErrNoDatabase) {
		db, err := vuln.Embedded()
		return describe("inside this program", db, err)
	}
	return st, err
}

func printDBStatus(env *Env, st pack.Status) {
	info := st.Database
	age := fmt.Sprintf("%s, %d days old", info.Data.UTC().Format(time.DateOnly), st.DaysOld)
	style := term.Good
	if time.Duration(st.DaysOld)*day > scanning.StaleAfter {
		style = term.Warn
	}
	env.Out.Printf("%s  %s\n", env.Out.Paint(term.Strong, "database"), term.Clean(st.Path))
	rows := [][2]string{
		{"newest fact", env.Out.Paint(style, age)},
		{"built", info.Built.UTC().Format(time.DateTime)},
		{"digest", info.Digest},
		{"advisories", fmt.Sprintf("%d for %d packages", info.Advisories, info.Packages)},
	}
	if st.Size > 0 {
		rows = append(rows, [2]string{"size", megabytes(st.Size)})
	}
	if st.From != "" {
		rows = append(rows, [2]string{"from", term.Clean(st.From)})
	}
	if !st.Fetched.IsZero() {
		rows = append(rows, [2]string{"fetched", st.Fetched.UTC().Format(time.DateTime)})
	}
	signed := "no key"
	if st.Signed != "" {
		signed = "by key " + st.Signed
	} else if info.Embedded {
		signed = "part of this program"
	}
	rows = append(rows, [2]string{"signed", signed})
	for _, r := range rows {
		env.Out.Printf("%-12s %s\n", r[0], r[1])
	}
	var table [][]term.Cell
	for _, s := range info.Sources {
		table = append(table, []term.Cell{term.T(s.Name), term.C(term.Plain, "%d", s.Advisories), term.T(dateOf(s.Data)), term.T(s.Licence), term.C(term.Warn, "%s", s.Partial)})
	}
	if len(table) > 0 {
		env.Out.Printf("\n")
		env.Out.Table([]string{"DATA SET", "ADVISORIES", "NEWEST", "LICENCE", "MISSING"}, table)
	}
}

// dateOf is the day of t; a set of facts without a date of its own has none.
func dateOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

func dbBuildCommand(env *Env) *cobra.Command {
	var out, format, cacheDir, output, built string
	var online, noProse, keepGoing bool
	var only []string
	var jobs int
	cmd := &cobra.Command{
		Use:   "build [FILE|DIR|URL...]",
		Short: "Build a database from published advisory data",
		Long: `Reads OSV exports (zip, ndjson, folders of JSON), the Debian tracker, Alpine
secdb, CSAF and VEX of Red Hat and SUSE, Ubuntu's OSV, KEV, EPSS and SSVC, and
writes one database. What a file is, is found out by its content. Equal data give
equal bytes. --online fetches the public data sets this program knows.`,
		Example: `  gabion db build --online --file advisories.gdb
  gabion db build npm/all.zip kev.json epss.csv.gz --file advisories.gdb
  gabion db build --online --only debian-tracker,kev --file advisories.gdb`,
		RunE: func(cmd *cobra.Command, args []string) error {
			inputs := []feed.Input{}
			for _, a := range args {
				in := feed.Input{Format: format}
				if strings.HasPrefix(a, "https://") || strings.HasPrefix(a, "http://") {
					in.URL = a
				} else {
					in.Path = a
				}
				inputs = append(inputs, in)
			}
			if online {
				public, err := feed.Public()
				if err != nil {
					return exit(ExitFailed, err)
				}
				known := []string{}
				for _, in := range public {
					known = append(known, in.Name)
					if len(only) == 0 || contains(only, in.Name) {
						inputs = append(inputs, in)
					}
				}
				for _, name := range only {
					if !contains(known, name) {
						return exit(ExitUsage, fmt.Errorf("--only %s: no such data set; there are: %s", name, strings.Join(slices.Compact(known), ", ")))
					}
				}
			}
			if len(inputs) == 0 {
				return exit(ExitUsage, errors.New("nothing to build from: name files, or use --online"))
			}
			if err := writable(out); err != nil {
				return exit(ExitFailed, err)
			}
			o := feed.Options{Prose: !noProse, Jobs: jobs, KeepGoing: keepGoing, Fetch: fetch.Options{Dir: cacheDir, UserAgent: version.Name + "/" + version.Version}}
			if built != "" {
				t, err := time.Parse(time.RFC3339, built)
				if err != nil {
					return exit(ExitUsage, fmt.Errorf("--built: write a moment such as 2026-11-24T12:00:00Z"))
				}
				o.Built = t
			}
			if cacheDir == "" {
				dir, err := os.UserCacheDir()
				if err != nil {
					return exit(ExitFailed, fmt.Errorf("%w; name a folder with --cache", err))
				}
				o.Fetch.Dir = filepath.Join(dir, "gabion", "feeds")
			}
			p := &dbProgress{env: env}
			o.Progress = func(s feed.Progress) { p.show(s.Stage+" "+s.Input, s.Done, s.Total) }
			res, err := feed.Build(cmd.Context(), inputs, out, o)
			p.end()
			if err != nil && cmd.Context().Err() != nil {
				err = errors.New("interrupted: no database was written; what was fetched is kept for the next time")
			}
			if err != nil {
				return exit(ExitFailed, err)
			}
			if output == "json" {
				return printJSON(env, res)
			}
			printBuild(env, out, res)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "file", "advisories.gdb", "write the database to `FILE`")
	f.StringVar(&format, "format", "", "every file is of this `FORMAT`; default: found out")
	f.StringVar(&cacheDir, "cache", "", "keep what was fetched in `DIR`; default: the user's cache folder")
	f.BoolVar(&online, "online", false, "fetch the public data sets")
	f.StringSliceVar(&only, "only", nil, "of the public data sets, only `NAMES`")
	f.BoolVar(&noProse, "no-prose", false, "keep facts only: a smaller file without summaries and links")
	f.BoolVar(&keepGoing, "keep-going", false, "build without a data set that cannot be read, and mark it as missing")
	f.StringVar(&built, "built", "", "date of making, as `MOMENT`; default: that of the newest record, so that equal data give equal bytes")
	_ = cmd.RegisterFlagCompletionFunc("only", completeList(dataSets))
	f.IntVar(&jobs, "jobs", 0, "read `N` documents at once; default: one per processor")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func printBuild(env *Env, out string, res feed.Result) {
	var rows [][]term.Cell
	for _, in := range res.Inputs {
		style, note := term.Plain, skipped(in)
		if in.Error != "" {
			style, note = term.Bad, in.Error
		}
		rows = append(rows, []term.Cell{term.T(in.Input.Name), term.T(in.Input.Format), term.C(term.Plain, "%d", in.Stats.Records), term.C(term.Plain, "%d", in.Stats.Kept), term.C(style, "%s", note)})
	}
	env.Out.Table([]string{"DATA SET", "FORMAT", "RECORDS", "KEPT", "NOT KEPT"}, rows)
	size := int64(0)
	if fi, err := os.Stat(out); err == nil {
		size = fi.Size()
	}
	d := res.Database
	env.Out.Printf("\n%s: %d advisories for %d packages, newest fact %s, %s\n%s\n", term.Clean(out), d.Advisories, d.Packages, d.Data.UTC().Format(time.DateOnly), megabytes(size), d.Digest)
}

// skipped says what of an input is not in the database, and why.
func skipped(in feed.InputReport) string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(in.Stats.Withdrawn, "withdrawn")
	add(in.Stats.Bad, "unreadable")
	for _, reason := range slices.Sorted(maps.Keys(in.Stats.Skipped)) {
		add(in.Stats.Skipped[reason], reason)
	}
	return strings.Join(parts, ", ")
}

func dbUpdateCommand(env *Env) *cobra.Command {
	var d dbFlags
	cmd := &cobra.Command{
		Use:   "update [REFERENCE]",
		Short: "Bring the local database up to what a registry holds",
		Long: `Takes the database from an artifact that gabion db push made: only what changed,
where that is possible. It is verified before it replaces the old one, and on any
failure the old one stays in use. A download that broke goes on where it was.
Without REFERENCE it is taken from $` + dbFromEnv + `, else from where the one at
hand came from.`,
		Example: `  gabion db update registry.example:5000/security/advisories:1 --key db.pub
  gabion db update oci:/mnt/mirror:1 --key db.pub
  gabion db update                     # again from there`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.change(cmd.Context(), env, func(p pack.Place, o pack.Options) (pack.Change, error) {
				from := ""
				if len(args) > 0 {
					from = args[0]
				} else if err := updateFrom(p, os.Getenv, &from); err != nil {
					return pack.Change{}, err
				}
				return p.Update(cmd.Context(), from, o)
			})
		},
	}
	d.add(cmd)
	d.addTrust(cmd)
	cmd.Flags().BoolVar(&d.plainHTTP, "plain-http", false, "speak to the registry without TLS")
	return cmd
}

// dbFromEnv names where databases are published.
const dbFromEnv = "GABION_DB_FROM"

// updateFrom finds where to take a database from when nobody says it.
func updateFrom(p pack.Place, getenv func(string) string, from *string) error {
	if *from = getenv(dbFromEnv); *from != "" {
		return nil
	}
	st, err := p.Status(time.Now())
	if err != nil && !errors.Is(err, pack.ErrNoDatabase) {
		return err
	}
	*from = st.From
	if fi, err := os.Stat(*from); *from != "" && err == nil && fi.Mode().IsRegular() {
		return fmt.Errorf("the database at hand came from the file %s: take a newer one with gabion db import, or name the REFERENCE where yours is published", *from)
	}
	if *from == "" {
		return fmt.Errorf("no database was fetched here before: name the REFERENCE where yours is published, or set $%s; to make one: gabion db build --online --file advisories.gdb && gabion db import advisories.gdb --unsigned", dbFromEnv)
	}
	return nil
}

func dbImportCommand(env *Env) *cobra.Command {
	var d dbFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take a database from a file: one that was exported, or one that was built here",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.change(cmd.Context(), env, func(p pack.Place, o pack.Options) (pack.Change, error) { return p.Import(cmd.Context(), args[0], o) })
		},
	}
	d.add(cmd)
	d.addTrust(cmd)
	return cmd
}

func (d *dbFlags) change(ctx context.Context, env *Env, do func(pack.Place, pack.Options) (pack.Change, error)) error {
	place, err := d.place()
	if err != nil {
		return exit(ExitFailed, err)
	}
	o, err := d.options(env)
	if err != nil {
		return exit(ExitFailed, err)
	}
	c, err := do(place, o)
	d.progress.end()
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted: the database at hand stays in use; what was fetched is kept for the next time")
	}
	if err != nil {
		return exit(ExitFailed, err)
	}
	switch {
	case !c.Updated:
		env.Err.Printf("up to date: newest fact %s, %d days old\n", c.Database.Data.UTC().Format(time.DateOnly), c.DaysOld)
	case c.Delta:
		env.Err.Printf("updated by what changed (%s): newest fact %s\n", megabytes(c.Carried), c.Database.Data.UTC().Format(time.DateOnly))
	default:
		env.Err.Printf("database of %d advisories is in place: newest fact %s, %d days old\n", c.Database.Advisories, c.Database.Data.UTC().Format(time.DateOnly), c.DaysOld)
	}
	return nil
}

func dbExportCommand(env *Env) *cobra.Command {
	var d dbFlags
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the local database and its signature into one file, for places without a network",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := d.place()
			if err == nil {
				err = place.Export(cmd.Context(), args[0])
			}
			if err != nil {
				return exit(ExitFailed, err)
			}
			env.Err.Printf("written; take it with: gabion db import %s --key FILE (or --unsigned)\n", filepath.Base(args[0]))
			return nil
		},
	}
	d.add(cmd)
	return cmd
}

func dbVerifyCommand(env *Env) *cobra.Command {
	var d dbFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read the whole local database and compare it with its digest and signature",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := d.place()
			if err != nil {
				return exit(ExitFailed, err)
			}
			keys, err := d.trusted()
			if err != nil {
				return exit(ExitFailed, err)
			}
			if err := place.Verify(cmd.Context(), keys); err != nil {
				return exit(ExitFailed, err)
			}
			env.Err.Printf("the local database is as it was made%s\n", map[bool]string{true: "", false: ", and signed by a key that is trusted"}[len(keys) == 0])
			return nil
		},
	}
	d.add(cmd)
	cmd.Flags().StringArrayVar(&d.keys, "key", nil, "check the signature by the public key in `FILE`; default: $"+pack.KeyEnv)
	return cmd
}

func dbShowCommand(env *Env) *cobra.Command {
	var file, output string
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show what the database says of a vulnerability, by any of its names",
		Example: "  gabion db show CVE-2021-44228",
		Args:    arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if file == "" {
				file = os.Getenv(scanning.EnvDatabase)
			}
			db, err := scanning.OpenDatabase(file)
			if err != nil {
				return exit(ExitFailed, err)
			}
			defer db.Close()
			entries, err := db.Lookup(args[0])
			if err != nil {
				return exit(ExitFailed, err)
			}
			if output == "json" {
				return printJSON(env, entries)
			}
			if len(entries) == 0 {
				return exit(ExitFailed, fmt.Errorf("the database knows no %s; its age and what it is made of: gabion db status", args[0]))
			}
			for _, e := range entries {
				printEntry(env, e)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "db", "", "look into the database in `FILE`; default: that which a scan would use")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func printEntry(env *Env, e vuln.Entry) {
	style := map[bool]term.Style{true: term.Bad, false: term.Plain}[e.Severity >= scan.High]
	env.Out.Printf("%s  %s  %s\n", env.Out.Paint(term.Strong, term.Clean(e.ID)), env.Out.Paint(style, e.Severity.String()), e.Source)
	line := func(name, format string, args ...any) {
		env.Out.Hang(fmt.Sprintf("  %-11s", name), 13, term.C(term.Plain, format, args...))
	}
	if len(e.Aliases) > 0 {
		line("also", "%s", strings.Join(e.Aliases, ", "))
	}
	if e.CVSS != "" {
		line("CVSS", "%.1f %s", e.Score, e.CVSS)
	}
	if e.KEV != nil {
		line("exploited", "known since %s", e.KEV.Added.UTC().Format(time.DateOnly))
	}
	if e.EPSS != nil {
		line("EPSS", "%.3f", e.EPSS.Score)
	}
	if e.Summary != "" {
		line("summary", "%s", e.Summary)
	}
	if e.URL != "" {
		line("see", "%s", e.URL)
	}
	const most = 20
	for i, a := range e.Affected {
		if i == most {
			line("", "and %d more; -o json shows all", len(e.Affected)-most)
			break
		}
		line(map[bool]string{true: "packages", false: ""}[i == 0], "%s %s %s", a.Ecosystem, a.Name, ranges(a))
	}
}

func ranges(a vuln.Affected) string {
	parts := []string{}
	for _, r := range a.Ranges {
		switch from := r.Introduced; {
		case r.Fixed != "" && (from == "" || from == "0"):
			parts = append(parts, "before "+r.Fixed)
		case r.Fixed != "":
			parts = append(parts, from+" to before "+r.Fixed)
		case r.LastAffected != "":
			parts = append(parts, strings.TrimPrefix(from+" up to "+r.LastAffected, "0 "))
		case from != "" && from != "0":
			parts = append(parts, from+" and later")
		default:
			parts = append(parts, "all versions")
		}
	}
	return strings.Join(parts, "; ")
}

func dbPushCommand(env *Env) *cobra.Command {
	var d dbFlags
	var signer string
	var previous []string
	cmd := &cobra.Command{
		Use:     "push FILE REFERENCE",
		Short:   "Publish a database in a registry or an OCI layout, signed, with what changed since earlier ones",
		Example: "  gabion db push advisories.gdb registry.example:5000/security/advisories:1 --sign db.key --previous last-week.gdb",
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := pack.PushOptions{Remote: d.remote(), Previous: previous}
			if signer != "" {
				text, err := os.ReadFile(signer)
				if err != nil {
					return exit(ExitFailed, fmt.Errorf("read key: %w", err))
				}
				if o.Signer, err = pack.ParseSigner(text); err != nil {
					return exit(ExitFailed, err)
				}
			} else {
				env.Err.Printf("warning: not signed; who takes it must say --unsigned\n")
			}
			p, err := pack.Push(cmd.Context(), args[0], args[1], o)
			if err != nil {
				return exit(ExitFailed, err)
			}
			env.Out.Printf("%s\n", p.Manifest)
			return nil
		},
	}
	cmd.Flags().StringVar(&signer, "sign", "", "sign with the private key in `FILE`")
	cmd.Flags().StringArrayVar(&previous, "previous", nil, "also publish what changed since the database in `FILE`")
	cmd.Flags().BoolVar(&d.plainHTTP, "plain-http", false, "speak to the registry without TLS")
	return cmd
}

func dbMirrorCommand(env *Env) *cobra.Command {
	var d dbFlags
	cmd := &cobra.Command{
		Use:     "mirror FROM TO",
		Short:   "Copy a published database as it is, signature included",
		Example: "  gabion db mirror registry.example:5000/security/advisories:1 oci:/mnt/mirror:1",
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := pack.Mirror(cmd.Context(), args[0], args[1], d.remote())
			if err != nil {
				return exit(ExitFailed, err)
			}
			env.Out.Printf("%s\n", digest)
			return nil
		},
	}
	cmd.Flags().BoolVar(&d.plainHTTP, "plain-http", false, "speak to registries without TLS")
	return cmd
}

func dbKeygenCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make the key pair that databases are signed with: NAME.key and NAME.pub",
		Args:  arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			private, public, err := pack.GenerateKey(rand.Reader)
			if err != nil {
				return exit(ExitFailed, err)
			}
			for _, f := range []struct {
				name string
				mode os.FileMode
				text []byte
			}{{args[0] + ".key", 0o600, private}, {args[0] + ".pub", 0o644, public}} {
				if err := writeNew(f.name, f.mode, f.text); err != nil {
					return exit(ExitFailed, err)
				}
			}
			env.Err.Printf("%s.key signs (keep it secret), %s.pub is for those who take databases\n", args[0], args[0])
			return nil
		},
	}
}

// writeNew makes a file and never touches one that is there.
func writeNew(name string, mode os.FileMode, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
