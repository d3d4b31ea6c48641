// Package scanning wires the scanner for the command line and for whoever else
// scans in this process: which database, which cache, whose decisions.
//
// It reads files and makes values of them; scan/engine does the work. The one
// idea: Options are what a person wrote, Setup turns them into engine.Options
// once, and whatever cannot be had is an error that says what to do, unless the
// scan is true without it.
package scanning

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan/cache"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/decide/vex"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/image"
	"github.com/gabion-dev/gabion/scan/secret"
	"github.com/gabion-dev/gabion/scan/sign"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/pack"
)

// Options are what a person chose.
type Options struct {
	Tool string // name and version

	Image        image.Options
	PasswordFile string   // holds "user:password" or a token
	Mirrors      []string // "HOST=MIRROR"

	Database string // file; "": the local one, else the embedded
	Cache    string // folder; "": the usual place
	NoCache  bool
	Jobs     int
	Timeout  time.Duration

	Skip  []string // of Skippable
	Files bool

	FailOn     []string
	Ignore     string // file; "": decide.IgnoreName here, when it is there
	NoIgnore   bool   // no ignore file, not even that one
	Exceptions []v1alpha1.Exception
	VEX        []string // files
	Base       string
	NewOnly    bool
	Allow      []string // licences
	Deny       []string

	Keys             []string // PEM files
	Identities       []string // "ISSUER=SUBJECT"; ~ before either makes it a pattern
	TrustedRoot      string   // file
	NotationCA       []string // PEM files
	RequireSignature bool

	Progress func(engine.Progress)
	Now      time.Time // zero: the clock's
}

// Skippable are the parts of a scan that can be left out.
func Skippable() []string { return []string{"vulnerabilities", "secrets", "checks", "licenses"} }

// MaxCache is how large the layer cache grows.
const MaxCache = 4 << 30

// Session is a scanner that is set up. Close it.
type Session struct {
	Engine engine.Options
	// Notes are things a person should know, one line each.
	Notes []string
}

// Close gives the database back.
func (s *Session) Close() error {
	if s.Engine.DB != nil {
		return s.Engine.DB.Close()
	}
	return nil
}

// Setup reads everything that is named.
func Setup(o Options) (s *Session, err error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	s = &Session{Engine: engine.Options{
		Tool: o.Tool, Image: o.Image, Jobs: o.Jobs, Timeout: o.Timeout, Files: o.Files, Base: o.Base,
		Allow: o.Allow, Deny: o.Deny, Now: o.Now, Progress: o.Progress,
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	for _, name := range o.Skip {
		if !slices.Contains(Skippable(), name) {
			return s, fmt.Errorf("unknown part %q to skip; use: %s", name, strings.Join(Skippable(), ", "))
		}
	}
	skipped := func(name string) bool { return slices.Contains(o.Skip, name) }
	for _, step := range []func() error{
		func() error { return s.imageOptions(o) },
		func() error { return s.decisions(o) },
		func() error { return s.signatures(o) },
		func() error { return s.openCache(o) },
	} {
		if err := step(); err != nil {
			return s, err
		}
	}
	if !skipped("secrets") {
		if s.Engine.Secrets, err = secret.New(); err != nil {
			return s, err
		}
	}
	s.Engine.Checks = !skipped("checks")
	s.Engine.Licenses = !skipped("licenses")
	if !skipped("vulnerabilities") {
		if err := s.openDatabase(o); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *Session) imageOptions(o Options) error {
	io := &s.Engine.Image
	io.UserAgent = strings.ReplaceAll(o.Tool, " ", "/")
	for _, m := range o.Mirrors {
		host, mirror, ok := strings.Cut(m, "=")
		if !ok || host == "" || mirror == "" {
			return fmt.Errorf("mirror %q: write HOST=MIRROR", m)
		}
		if io.Mirrors == nil {
			io.Mirrors = map[string][]string{}
		}
		io.Mirrors[host] = append(io.Mirrors[host], mirror)
	}
	if o.PasswordFile == "" {
		return nil
	}
	text, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	line := strings.TrimSpace(string(text))
	if user, password, ok := strings.Cut(line, ":"); ok {
		io.Username, io.Password = user, password
	} else if io.Username != "" {
		io.Password = line
	} else {
		io.Token = line
	}
	return nil
}

func (s *Session) decisions(o Options) error {
	t, err := decide.ParseThresholds(o.FailOn...)
	if err != nil {
		return err
	}
	if o.NewOnly {
		t.NewOnly = true
		if o.Base == "" {
			s.Notes = append(s.Notes, "--new-only without --base: which layers are the base image's is told from labels and the history, if at all")
		}
	}
	if len(o.Deny)+len(o.Allow) > 0 {
		t.Licenses = true
	}
	s.Engine.Thresholds = t
	in := &s.Engine.Decisions
	in.Exceptions = o.Exceptions
	name := o.Ignore
	if name == "" {
		name = decide.IgnoreName
	}
	switch data, err := os.ReadFile(name); {
	case o.NoIgnore:
	case err == nil:
		if in.Ignore, err = decide.ParseIgnore(name, data); err != nil {
			return err
		}
	case o.Ignore != "" || !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("read ignore file: %w; check --ignore-file", err)
	}
	for _, file := range o.VEX {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read VEX document: %w; check --vex", err)
		}
		doc, err := vex.Parse(file, data)
		if err != nil {
			return err
		}
		in.VEX = append(in.VEX, *doc)
	}
	return nil
}

func (s *Session) signatures(o Options) error {
	p := sign.Policy{}
	for _, file := range o.Keys {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read key: %w", err)
		}
		p.Keys = append(p.Keys, sign.Key{Name: filepath.Base(file), PEM: pem})
	}
	for _, text := range o.Identities {
		id, err := identity(text)
		if err != nil {
			return err
		}
		p.Identities = append(p.Identities, id)
	}
	if o.TrustedRoot != "" {
		root, err := os.ReadFile(o.TrustedRoot)
		if err != nil {
			return fmt.Errorf("read trusted root: %w", err)
		}
		p.TrustedRoot = root
	}
	for _, file := range o.NotationCA {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read notation authority: %w", err)
		}
		if p.Notation == nil {
			p.Notation = &sign.Notation{}
		}
		p.Notation.CACerts = append(append(p.Notation.CACerts, pem...), '\n')
	}
	trusts := len(p.Keys) + len(p.Identities)
	if p.Notation != nil {
		trusts++
	}
	if o.RequireSignature {
		if trusts == 0 {
			return errors.New("--require-signature: say whose, with --key, --identity or --notation-ca")
		}
		p.Require = 1
	}
	if trusts == 0 {
		return nil
	}
	if err := p.Check(); err != nil {
		return err
	}
	s.Engine.Sign = &p
	return nil
}

// identity reads "ISSUER=SUBJECT". The issuer is a URL, which may itself hold
// "=" only after a "?", so the first "=" parts the two.
func identity(text string) (sign.Identity, error) {
	issuer, subject, ok := strings.Cut(text, "=")
	if !ok || issuer == "" || subject == "" {
		return sign.Identity{}, fmt.Errorf("identity %q: write ISSUER=SUBJECT, ~ before either makes it a pattern", text)
	}
	var id sign.Identity
	if pattern, ok := strings.CutPrefix(issuer, "~"); ok {
		id.IssuerPattern = pattern
	} else {
		id.Issuer = issuer
	}
	if pattern, ok := strings.CutPrefix(subject, "~"); ok {
		id.SubjectPattern = pattern
	} else {
		id.Subject = subject
	}
	return id, nil
}

func (s *Session) openCache(o Options) error {
	if o.NoCache {
		return nil
	}
	dir := o.Cache
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			s.Notes = append(s.Notes, "layers are not remembered: "+err.Error())
			return nil
		}
		dir = filepath.Join(base, "gabion", "layers")
	}
	c, err := cache.Open(dir, MaxCache)
	if err != nil {
		if o.Cache != "" {
			return err
		}
		s.Notes = append(s.Notes, "layers are not remembered: "+err.Error())
		return nil
	}
	s.Engine.Cache = c
	return nil
}

// StaleAfter is the age of the newest fact from which a database is warned about.
const StaleAfter = 7 * 24 * time.Hour

// openDatabase takes the one that was named, else the local one, else the
// embedded one, and notes what a person should know of it.
func (s *Session) openDatabase(o Options) error {
	db, err := OpenDatabase(o.Database)
	if err != nil {
		return err
	}
	s.Engine.DB = db
	info := db.Info()
	if age := o.Now.Sub(info.Data); age > StaleAfter {
		of := "the database"
		if info.Embedded {
			of = "the database inside this program"
		}
		s.Notes = append(s.Notes, fmt.Sprintf("the newest advisory of %s is %d days old: what was published since is not found; get a newer one: gabion db update", of, int(age.Hours()/24)))
	}
	for _, src := range info.Sources {
		if src.Partial != "" && !info.Embedded {
			s.Notes = append(s.Notes, fmt.Sprintf("data set %s is not complete: %s", src.Name, src.Partial))
		}
	}
	return nil
}

// OpenDatabase opens a file, or for "" the local database when there is one,
// else the snapshot inside the program.
func OpenDatabase(file string) (*vuln.DB, error) {
	if file != "" {
		db, err := vuln.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("open database: %s is not there; build one with gabion db build, or leave it out: there is one inside this program", file)
		}
		return db, err
	}
	place, err := pack.DefaultPlace(os.Getenv)
	if err != nil {
		return vuln.Embedded()
	}
	local, err := place.Database()
	if errors.Is(err, pack.ErrNoDatabase) {
		return vuln.Embedded()
	}
	if err != nil {
		return nil, err
	}
	return vuln.Open(local)
}
