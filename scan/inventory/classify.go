package inventory

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/gabion-dev/gabion/scan"
)

//go:embed classifiers.yaml
var classifierData []byte

// classifier recognises one program by text that its makers put into it. The
// comment at the top of classifiers.yaml describes the fields.
type classifier struct {
	Name     string   `yaml:"name"`
	Programs []string `yaml:"programs"`
	Files    []string `yaml:"files"`
	Texts    []string `yaml:"texts"`
	Version  string   `yaml:"version"`
	// Match and Miss are cases for tests.
	Match []classifierCase `yaml:"match"`
	Miss  []classifierCase `yaml:"miss"`

	texts []pattern
}

type classifierCase struct {
	Path    string `yaml:"path"`
	Text    string `yaml:"text"`
	Version string `yaml:"version"`
}

// pattern is a text with "{version}" in it: what is before and after.
type pattern struct {
	before, after []byte
	forward       *regexp.Regexp // the version at the place after before
	backward      *regexp.Regexp // the version up to the place of after; used when before is empty
}

// maxVersionBytes bounds the text of a version.
const maxVersionBytes = 48

// defaultVersion matches "1.2", "1.2.3", "1.2.3p4", "1.2.3-rc1".
const defaultVersion = `[0-9]+(?:\.[0-9]+)+(?:(?:-?(?:alpha|beta|rc)\.?[0-9]+)|[a-z][0-9]*)?`

// classifiers finds the rules for a file by its name.
type classifiers struct {
	all      []*classifier
	exact    map[string][]*classifier
	prefixes []prefixRule
}

type prefixRule struct {
	prefix string
	*classifier
}

// loadClassifiers reads the embedded data, which tests prove to be right.
func loadClassifiers() *classifiers {
	list, err := parseClassifiers(classifierData)
	if err != nil {
		panic(fmt.Sprintf("embedded classifiers.yaml: %v", err))
	}
	out := &classifiers{all: list, exact: map[string][]*classifier{}}
	for _, c := range list {
		for _, p := range c.Programs {
			if prefix, ok := strings.CutSuffix(p, "*"); ok {
				out.prefixes = append(out.prefixes, prefixRule{prefix, c})
			} else {
				out.exact[p] = append(out.exact[p], c)
			}
		}
	}
	return out
}

func parseClassifiers(data []byte) ([]*classifier, error) {
	var list []*classifier
	if err := yaml.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	for _, c := range list {
		version := c.Version
		if version == "" {
			version = defaultVersion
		}
		var forward *regexp.Regexp
		for _, t := range c.Texts {
			before, after, ok := strings.Cut(t, "{version}")
			if !ok || before == "" && after == "" {
				return nil, fmt.Errorf("%s: text %q does not say where the version is", c.Name, t)
			}
			p := pattern{before: []byte(before), after: []byte(after)}
			var err error
			if before != "" {
				if forward == nil {
					forward, err = regexp.Compile(`^(?:` + version + `)`)
				}
				p.forward = forward
			} else {
				p.backward, err = regexp.Compile(`(?:` + version + `)$`)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			c.texts = append(c.texts, p)
		}
		if c.Name == "" || len(c.texts) == 0 || len(c.Programs)+len(c.Files) == 0 {
			return nil, fmt.Errorf("%q: a classifier needs a name, texts, and programs or files", c.Name)
		}
	}
	return list, nil
}

// ruleFor is a classifier chosen for a file.
type ruleFor struct{ *classifier }

// forProgram finds the classifiers that know a program of that name.
func (c *classifiers) forProgram(base string) []ruleFor {
	var out []ruleFor
	for _, r := range c.exact[base] {
		out = append(out, ruleFor{r})
	}
	for _, p := range c.prefixes {
		if strings.HasPrefix(base, p.prefix) {
			out = append(out, ruleFor{p.classifier})
		}
	}
	return out
}

// find gives the versions that stand in b, beginning before limit. The first
// text that is there decides, and of it the first place.
func (r ruleFor) find(b []byte, limit int) []string {
	for _, p := range r.texts {
		if v := p.find(b, limit); v != "" {
			return []string{v}
		}
	}
	return nil
}

func (p *pattern) find(b []byte, limit int) string {
	anchor := p.before
	if len(anchor) == 0 {
		anchor = p.after
	}
	for i := 0; i < limit; {
		k := bytes.Index(b[i:], anchor)
		if k < 0 || i+k >= limit {
			return ""
		}
		at := i + k
		i = at + 1
		if len(p.before) == 0 {
			if v := p.backward.Find(b[max(0, at-maxVersionBytes):at]); v != nil {
				return string(v)
			}
			continue
		}
		rest := b[at+len(anchor):]
		if len(rest) == 0 || rest[0] < '0' || rest[0] > '9' {
			continue // versions begin with a digit; this is cheaper than asking
		}
		v := p.forward.Find(rest[:min(len(rest), maxVersionBytes)])
		if v != nil && bytes.HasPrefix(rest[len(v):], p.after) {
			return string(v)
		}
	}
	return ""
}

func (c *classifier) pkg(version string) scan.Package { return language("generic", c.Name, version) }

// plugins makes a plugin of every classifier that reads files which are no
// programs, such as the release file of a Java runtime.
func (c *classifiers) plugins() []*plugin {
	var out []*plugin
	for _, r := range c.all {
		for _, pattern := range r.Files {
			out = append(out, &plugin{
				name: programPlugin, version: 1, bases: []string{path.Base(pattern)},
				wants: func(p string) bool { return p == pattern || strings.HasSuffix(p, "/"+pattern) },
				extract: func(f *file, out *result) error {
					b, err := f.bytes()
					if err != nil {
						return err
					}
					for _, v := range (ruleFor{r}).find(b, len(b)) {
						out.add(r.pkg(v))
					}
					return nil
				},
				lose: "the version of the program it belongs to is missing from the report",
			})
		}
	}
	return out
}
