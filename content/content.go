// Package content is knowledge as data, embedded in the binary: classes of
// programs, the ATT&CK techniques that reasons stand for, detectors of
// secrets, checks of images, names of licences.
//
// It knows nothing of policy or kernels; who wants to know what a "shell" is
// called, asks here. The one idea: an item is one small YAML file with its
// names, why it matters, a case that must match and one that must not, so that
// knowledge grows by adding files, and a test reads them all.
package content

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

//go:embed classes/*.yaml techniques.yaml
var files embed.FS

// Class is a set of programs that are known by their names.
type Class struct {
	Name        string `yaml:"name" json:"name"`
	Description string `yaml:"description" json:"description"`
	// Why says what an intruder does with these programs.
	Why string `yaml:"why" json:"why"`
	// Techniques are ATT&CK ids.
	Techniques []string `yaml:"techniques" json:"techniques"`
	// Names are base names, as installed by Debian, Alpine and RHEL, and names
	// under which multi-call programs act.
	Names []string `yaml:"names" json:"names"`
	// Matches and MatchesNot are paths that must and must not be of the class.
	Matches    []string `yaml:"matches" json:"-"`
	MatchesNot []string `yaml:"matchesNot" json:"-"`
}

// Has reports whether the class has a program of this path or base name.
func (c *Class) Has(program string) bool {
	return slices.Contains(c.Names, path.Base(program))
}

// Library is everything that is embedded. It is read-only after Load and may
// be used by many goroutines.
type Library struct {
	classes    []Class // sorted by name
	techniques techniques
}

type techniques struct {
	Reasons map[string][]string `yaml:"reasons"`
	Kinds   map[string][]string `yaml:"kinds"`
	Names   map[string]string   `yaml:"names"`
}

// once reads the files a single time: they cannot change while the process
// lives, and every loading of a policy file asks for them.
var once = sync.OnceValues(load)

// Load gives what the embedded files say. An error means that the binary was
// built from a broken tree; a test keeps that from happening.
func Load() (*Library, error) { return once() }

func load() (*Library, error) {
	l := &Library{}
	entries, err := files.ReadDir("classes")
	if err != nil {
		return nil, fmt.Errorf("read classes: %w", err)
	}
	for _, e := range entries {
		var c Class
		if err := read(files, "classes/"+e.Name(), &c); err != nil {
			return nil, err
		}
		if c.Name != strings.TrimSuffix(e.Name(), ".yaml") {
			return nil, fmt.Errorf("read classes/%s: it is named %q", e.Name(), c.Name)
		}
		slices.Sort(c.Names)
		l.classes = append(l.classes, c)
	}
	slices.SortFunc(l.classes, func(a, b Class) int { return strings.Compare(a.Name, b.Name) })
	if err := read(files, "techniques.yaml", &l.techniques); err != nil {
		return nil, err
	}
	return l, nil
}

func read(from embed.FS, name string, into any) error {
	data, err := from.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := yaml.Load(data, into, yaml.WithKnownFields()); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// Classes gives every class, sorted by name. The caller must not change them.
func (l *Library) Classes() []Class { return l.classes }

// Class gives the class of a name, or nil.
func (l *Library) Class(name string) *Class {
	i, ok := slices.BinarySearchFunc(l.classes, name, func(c Class, n string) int { return strings.Compare(c.Name, n) })
	if !ok {
		return nil
	}
	return &l.classes[i]
}

// ClassNames gives the names of all classes, sorted.
func (l *Library) ClassNames() []string {
	names := make([]string, len(l.classes))
	for i := range l.classes {
		names[i] = l.classes[i].Name
	}
	return names
}

// ClassesOf gives the names of the classes a program belongs to, sorted.
func (l *Library) ClassesOf(program string) []string {
	var names []string
	for i := range l.classes {
		if l.classes[i].Has(program) {
			names = append(names, l.classes[i].Name)
		}
	}
	return names
}

// Techniques gives the ATT&CK ids that a happening may stand for: those of its
// kind ("process.exec"), of its reasons ("drift"), and of the classes of the
// program (path or base name, may be empty), sorted and without repeats. Only
// denied happenings should be asked about: an allowed exec stands for nothing.
func (l *Library) Techniques(kind string, reasons []string, program string) []string {
	ids := slices.Clone(l.techniques.Kinds[kind])
	for _, r := range reasons {
		ids = append(ids, l.techniques.Reasons[r]...)
	}
	if program != "" {
		for i := range l.classes {
			if l.classes[i].Has(program) {
				ids = append(ids, l.classes[i].Techniques...)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// TechniqueName gives the short name of an ATT&CK id, or "".
func (l *Library) TechniqueName(id string) string { return l.techniques.Names[id] }
