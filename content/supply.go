package content

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// supply is apart from the other files: who loads a policy need not read it.
//
//go:embed secrets/*.yaml secretplaces.yaml imagechecks/*.yaml licences/*.yaml licences/*.txt
var supply embed.FS

// Detector knows one kind of credential.
type Detector struct {
	ID       string `yaml:"id"`
	Title    string `yaml:"title"`
	Severity string `yaml:"severity"` // low, medium, high, critical
	// Keywords are texts of at least four bytes, in any case, one of which is in
	// everything that can match. A detector with Lines has none.
	Keywords []string `yaml:"keywords"`
	// Pattern is an RE2 expression. It is matched where a keyword begins, or up
	// to Back bytes before it, and sees at most Reach bytes from there. The
	// first group is the secret, or all of it when there is no group.
	Pattern string `yaml:"pattern"`
	Back    int    `yaml:"back"`
	Reach   int    `yaml:"reach"` // 0: 300
	// Contains is a text that the match has too, looked for before the expression
	// is tried.
	Contains string `yaml:"contains"`
	// Assigned: a keyword is part of a name to which a value is given in any of
	// the usual ways (=, :, =>, an XML element), and Pattern is the whole value.
	Assigned bool `yaml:"assigned"`
	// Inside allows letters and digits right before or behind the match.
	Inside bool `yaml:"inside"`
	// Generic detectors give way to others, those of 2 also to those of 1, that
	// match the same text. They want quotation marks in program sources and are
	// off in the code of others. 0: an exact one.
	Generic int `yaml:"generic"`
	// Config detectors are for names and values of the image's configuration and
	// are off in files.
	Config bool `yaml:"config"`
	// Lines: no keywords; every line of the files named by Files is matched.
	Lines bool `yaml:"lines"`
	// Files are globs of base names or, with a slash, of whole paths outside
	// of which the detector is off.
	Files []string `yaml:"files"`
	// Entropy is the least number of bits per byte that the secret must have.
	Entropy float64 `yaml:"entropy"`
	// Validator names a function of the scanner that has the last word.
	Validator string `yaml:"validator"`
	// Placeholders lets through what looks like one; for formats that are too
	// exact to be made up.
	Placeholders bool   `yaml:"placeholders"`
	Why          string `yaml:"why"`
	Remedy       string `yaml:"remedy"`
	// Matches and Benign are templates of texts that must and must not match:
	// {hex:40} and the like stand for random characters, {+} for nothing, so
	// that no file holds anything that looks like a credential.
	Matches []string `yaml:"matches"`
	Benign  []string `yaml:"benign"`
	// CasePath is the path under which the cases are scanned; empty: a
	// configuration file.
	CasePath string `yaml:"casePath"`
}

// Place is a set of paths with the reason why they are treated alike.
type Place struct {
	// Paths are directories with a slash at the end, anywhere when they begin
	// with "**/", or globs of base names.
	Paths []string `yaml:"paths"`
	Why   string   `yaml:"why"`
}

// Places says where looking for secrets is worth its cost.
type Places struct {
	// Skip is not looked at. Quiet is looked at only when a file is named like a
	// credential or like configuration. Lower is looked at, and what is found
	// counts as low.
	Skip  []Place `yaml:"skip"`
	Quiet []Place `yaml:"quiet"`
	Lower []Place `yaml:"lower"`
	// Credentials are names that are looked at whatever their size and place,
	// but for Skip.
	Credentials []Place `yaml:"credentials"`
	// Binary are extensions of files without text.
	Binary []string `yaml:"binary"`
	// Sources are extensions of program sources, Configuration those of
	// configuration.
	Sources       []string `yaml:"sources"`
	Configuration []string `yaml:"configuration"`
	// Placeholders are words that no real secret contains, Words are what stands
	// alone where a secret will be, both in lower case.
	Placeholders []string `yaml:"placeholders"`
	Words        []string `yaml:"words"`
}

// Secrets is what is known of credentials.
type Secrets struct {
	Detectors []Detector // sorted by id
	Places    Places
}

var secretsOnce = sync.OnceValues(func() (*Secrets, error) {
	s := &Secrets{}
	if err := readAll("secrets", &s.Detectors); err != nil {
		return nil, err
	}
	slices.SortFunc(s.Detectors, func(a, b Detector) int { return strings.Compare(a.ID, b.ID) })
	return s, read(supply, "secretplaces.yaml", &s.Places)
})

// LoadSecrets gives the detectors and places. The caller must not change them.
func LoadSecrets() (*Secrets, error) { return secretsOnce() }

// ImageCheck describes one judgement of an image's configuration.
type ImageCheck struct {
	ID       string `yaml:"id"` // "IMG-USER-ROOT"
	Title    string `yaml:"title"`
	Severity string `yaml:"severity"`
	Why      string `yaml:"why"`
	Remedy   string `yaml:"remedy"`
	// Refs are benchmark numbers and the like: "CIS Docker 1.6.0 4.1".
	Refs []string `yaml:"refs"`
	// Needs says what must be known: "config", "history", "files", "name".
	Needs []string `yaml:"needs"`
}

var imageChecksOnce = sync.OnceValues(func() ([]ImageCheck, error) {
	var list []ImageCheck
	if err := readAll("imagechecks", &list); err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b ImageCheck) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
})

// LoadImageChecks gives the checks of images, sorted by id. The caller must not
// change them.
func LoadImageChecks() ([]ImageCheck, error) { return imageChecksOnce() }

// Licences is what is known of licences.
type Licences struct {
	// IDs and Exceptions are SPDX identifiers as the list writes them.
	IDs, Exceptions []string
	// Aliases give the SPDX expression of other names, which are written in
	// lower case with single spaces.
	Aliases map[string]string
	// Categories give the ids, without "-only" and "-or-later", of a kind of
	// licence ("copyleft", "permissive").
	Categories map[string]Category
}

// Category is a kind of licence.
type Category struct {
	Why string   `yaml:"why"`
	IDs []string `yaml:"ids"`
}

var licencesOnce = sync.OnceValues(func() (*Licences, error) {
	l := &Licences{Aliases: map[string]string{}}
	for name, into := range map[string]*[]string{"licences/ids.txt": &l.IDs, "licences/exceptions.txt": &l.Exceptions} {
		if err := eachLine(name, func(line string) error {
			*into = append(*into, line)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if err := eachLine("licences/aliases.txt", func(line string) error {
		name, expression, ok := strings.Cut(line, ": ")
		if _, twice := l.Aliases[name]; !ok || twice || name == "" {
			return fmt.Errorf("%q: write NAME: EXPRESSION, every name once", line)
		}
		l.Aliases[name] = strings.TrimSpace(expression)
		return nil
	}); err != nil {
		return nil, err
	}
	return l, read(supply, "licences/categories.yaml", &l.Categories)
})

// LoadLicences gives what is known of licences. The caller must not change it.
func LoadLicences() (*Licences, error) { return licencesOnce() }

// eachLine hands over the lines of a file but for empty ones and comments. Long
// lists are written so: YAML takes many times as long to read.
func eachLine(name string, do func(line string) error) error {
	data, err := supply.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

// readAll appends the lists of every file of a folder.
func readAll[T any](dir string, list *[]T) error {
	entries, err := supply.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	for _, e := range entries {
		var part []T
		if err := read(supply, dir+"/"+e.Name(), &part); err != nil {
			return err
		}
		*list = append(*list, part...)
	}
	return nil
}
