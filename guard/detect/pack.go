package detect

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/content"
)

// Default compiles the embedded detections.
func Default() (*Pack, error) { return With(nil) }

// With compiles the embedded detections and those of a folder in the same
// form; nil is none. A folder's detection replaces the embedded one of the same
// name; with `disabled: true` it turns it off.
func With(fsys fs.FS) (*Pack, error) {
	list, err := content.Detections()
	if err != nil {
		return nil, err
	}
	if fsys != nil {
		own, err := content.ReadDetections(fsys)
		if err != nil {
			return nil, err
		}
		if len(own) == 0 {
			return nil, errors.New("the folder has no detections: write each as NAME/detection.yaml")
		}
		list = slices.DeleteFunc(list, func(d content.Detection) bool {
			return slices.ContainsFunc(own, func(o content.Detection) bool { return o.Name == d.Name })
		})
		list = append(list, own...)
		slices.SortFunc(list, func(a, b content.Detection) int { return strings.Compare(a.Name, b.Name) })
	}
	return Compile(list)
}

// Try runs the cases of a detection. The error joins what came out otherwise
// than the case says, each with its file and line, and says when there is no
// case of a kind. A disabled one needs none.
func Try(d content.Detection) error {
	if d.Disabled {
		return nil
	}
	pack, err := Compile([]content.Detection{d})
	if err != nil {
		return err
	}
	dir := strings.TrimSuffix(d.File, "detection.yaml")
	var faults []error
	for _, part := range []struct {
		file  string
		cases []content.DetectionCase
		want  bool
	}{{dir + "positive.jsonl", d.Positive, true}, {dir + "negative.jsonl", d.Negative, false}} {
		if len(part.cases) == 0 {
			faults = append(faults, fmt.Errorf("%s: no case; write at least one", part.file))
		}
		for _, c := range part.cases {
			matches, err := Replay(New(pack), c)
			switch {
			case err != nil:
				faults = append(faults, fmt.Errorf("%s:%d: %w", part.file, c.Line, err))
			case part.want && len(matches) == 0:
				faults = append(faults, fmt.Errorf("%s:%d: %q must be found and is not", part.file, c.Line, c.Name))
			case !part.want && len(matches) > 0:
				faults = append(faults, fmt.Errorf("%s:%d: %q must not be found and is: %s", part.file, c.Line, c.Name, matches[0].Words()))
			}
		}
	}
	return errors.Join(faults...)
}

// Replay gives what an engine finds in a case. An expression that gave no
// answer is an error.
func Replay(e *Engine, c content.DetectionCase) ([]Match, error) {
	var out []Match
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, raw := range c.Happenings {
		h, err := ParseHappening(raw, start)
		if err != nil {
			return nil, fmt.Errorf("happening %d: %w", i+1, err)
		}
		h.Container = "case"
		out = append(out, e.Handle(h)...)
	}
	for name, n := range e.Stats().Failed {
		return nil, fmt.Errorf("an expression of %s gave no answer %d times", name, n)
	}
	return out, nil
}

// Words are the match's steps in a line.
func (m *Match) Words() string {
	parts := make([]string, len(m.Steps))
	for i := range m.Steps {
		parts[i] = m.Steps[i].Words()
	}
	return strings.Join(parts, "; then ")
}
