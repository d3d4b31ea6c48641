package content

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

//go:embed all:detections
var detections embed.FS

// Bounds of one file of a detection.
const (
	MaxDetectionBytes = 64 << 10
	MaxCaseBytes      = 1 << 20
)

// Detection describes behaviour that is worth telling of, as its folder has
// it. What its expressions mean is the duty of guard/detect.
type Detection struct {
	// Name is that of the folder.
	Name       string   `yaml:"name"`
	Title      string   `yaml:"title"`
	Severity   string   `yaml:"severity"` // low, medium, high, critical
	Techniques []string `yaml:"techniques"`
	// What it means, what else looks like it, and what to do.
	What           string `yaml:"what"`
	FalsePositives string `yaml:"falsePositives"`
	Remedy         string `yaml:"remedy"`
	// Disabled detections are not evaluated: a user's folder of the same name
	// turns one of ours off this way.
	Disabled bool `yaml:"disabled"`
	// Steps must all have happened; one step is the usual case.
	Steps []DetectionStep `yaml:"steps"`
	// Within is the longest time from the first step to the last; needed with
	// several steps and with a burst.
	Within Span `yaml:"within"`
	// By says what joins the steps: container (default) or process: the same
	// process or one that descends from it.
	By string `yaml:"by"`
	// AnyOrder accepts the steps in any order.
	AnyOrder bool `yaml:"anyOrder"`
	// Burst wants the only step often, each time with something else.
	Burst *DetectionBurst `yaml:"burst"`

	// File is where it was read; Positive and Negative are its cases.
	File     string          `yaml:"-"`
	Positive []DetectionCase `yaml:"-"`
	Negative []DetectionCase `yaml:"-"`
}

// DetectionStep is one happening that a detection waits for. Programs and
// parents are classes, groups or base names.
type DetectionStep struct {
	On       []string `yaml:"on"` // kinds of events
	Programs []string `yaml:"programs"`
	Parents  []string `yaml:"parents"`
	When     Located  `yaml:"when"` // CEL; empty: always
}

// DetectionBurst is how many different values of an expression within the
// detection's time are too many.
type DetectionBurst struct {
	Count    int     `yaml:"count"`
	Distinct Located `yaml:"distinct"`
}

// DetectionCase is a recorded happening, or several, that a detection must or
// must not find something in. Happenings are in the form of guard/detect.
type DetectionCase struct {
	Name       string            `json:"name"`
	Happenings []json.RawMessage `json:"happenings"`
	// Line of the file it was read from.
	Line int `json:"-"`
}

// Located is a text that knows where it was written.
type Located struct {
	Text string
	Line int
	// Block texts begin on the line after Line and keep their lines.
	Block bool
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (l *Located) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: write a text here", n.Line)
	}
	l.Text, l.Line, l.Block = strings.TrimSpace(n.Value), n.Line, n.Style&yaml.LiteralStyle != 0
	return nil
}

// Span is a duration written as 90s or 10m.
type Span time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *Span) UnmarshalYAML(n *yaml.Node) error {
	d, err := time.ParseDuration(n.Value)
	if err != nil || d <= 0 {
		return fmt.Errorf("line %d: %q is no time; write it like 90s or 10m", n.Line, n.Value)
	}
	*s = Span(d)
	return nil
}

// Detections gives the embedded detections, sorted by name.
func Detections() ([]Detection, error) {
	sub, err := fs.Sub(detections, "detections")
	if err != nil {
		return nil, err
	}
	return ReadDetections(sub)
}

// DetectionGroups gives sets of program names that detections speak of and
// policies do not: web-server, database and so on.
func DetectionGroups() (map[string][]string, error) {
	groups := map[string][]string{}
	return groups, read(detections, "detections/groups.yaml", &groups)
}

// ReadDetections reads every folder of a file system that has a detection.yaml,
// sorted by name. The error joins the faults of all of them; each names its
// file, and its line where there is one.
func ReadDetections(fsys fs.FS) ([]Detection, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read detections: %w", err)
	}
	var list []Detection
	var faults []error
	for _, e := range entries {
		name := path.Join(e.Name(), "detection.yaml")
		if _, err := fs.Stat(fsys, name); err != nil {
			if info, serr := fs.Stat(fsys, e.Name()); serr == nil && info.IsDir() {
				faults = append(faults, fmt.Errorf("%s: there is no detection.yaml in it; a folder of detections has a folder for each, with that file", e.Name()))
			}
			continue
		}
		d, err := readDetection(fsys, e.Name())
		if err != nil {
			faults = append(faults, err)
			continue
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Detection) int { return strings.Compare(a.Name, b.Name) })
	return list, errors.Join(faults...)
}

func readDetection(fsys fs.FS, dir string) (d Detection, err error) {
	name := path.Join(dir, "detection.yaml")
	data, err := bounded(fsys, name, MaxDetectionBytes)
	if err != nil {
		return d, err
	}
	if d, err = ParseDetection(name, data); err != nil {
		return d, err
	}
	if d.Name != dir {
		return d, fmt.Errorf("%s: its name is %q; it must be that of its folder", name, d.Name)
	}
	for _, c := range []struct {
		file string
		into *[]DetectionCase
	}{{"positive.jsonl", &d.Positive}, {"negative.jsonl", &d.Negative}} {
		file := path.Join(dir, c.file)
		data, err := bounded(fsys, file, MaxCaseBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return d, err
		}
		if *c.into, err = ParseCases(file, data); err != nil {
			return d, err
		}
	}
	return d, nil
}

func bounded(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, limit)
	}
	return data, nil
}

// ParseDetection reads one detection.yaml; name is for errors. Unknown fields
// are refused.
func ParseDetection(name string, data []byte) (Detection, error) {
	d := Detection{File: name}
	if err := yaml.Load(data, &d, yaml.WithKnownFields()); err != nil {
		return d, fmt.Errorf("read %s: %s", name, goType.ReplaceAllString(err.Error(), "is not known here"))
	}
	return d, nil
}

// goType is how the decoder says that a field is unknown, in words of Go.
var goType = regexp.MustCompile(`not found in type [A-Za-z.]+`)

// ParseCases reads cases, one JSON object a line.
func ParseCases(name string, data []byte) ([]DetectionCase, error) {
	var list []DetectionCase
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		c := DetectionCase{Line: n}
		if err := dec.Decode(&c); err != nil {
			return nil, fmt.Errorf("read %s:%d: %w", name, n, err)
		}
		if dec.More() {
			return nil, fmt.Errorf("read %s:%d: more than one JSON value", name, n)
		}
		if len(c.Happenings) == 0 {
			return nil, fmt.Errorf("read %s:%d: a case needs happenings", name, n)
		}
		list = append(list, c)
	}
	return list, nil
}
