package detect

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
)

// Bounds of a detection.
const (
	maxSteps  = 8
	maxBurst  = 256
	maxWithin = time.Hour
)

// Pack is detections that are ready to be evaluated. It is read-only and may
// be used by many engines.
type Pack struct {
	rules []*rule
	names *names
	index map[event.Kind]*kindIndex
}

// kindIndex finds the steps that a happening of a kind may be.
type kindIndex struct {
	any       []stepRef
	byProgram map[string][]stepRef
}

type stepRef struct{ rule, step int }

type rule struct {
	content.Detection
	severity event.Severity
	within   time.Duration
	process  bool // steps are joined by the process
	steps    []step
	distinct cel.Program
}

type step struct {
	parents map[string]bool // nil: any
	when    cel.Program     // nil: always
}

// Compile makes a pack of detections. Every fault is in the error, with its
// file and line.
func Compile(list []content.Detection) (*Pack, error) {
	library, err := content.Load()
	if err != nil {
		return nil, err
	}
	groups, err := content.DetectionGroups()
	if err != nil {
		return nil, err
	}
	env, err := newLanguage()
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	p := &Pack{names: newNames(library, groups), index: map[event.Kind]*kindIndex{}}
	for _, k := range Kinds() {
		p.index[k] = &kindIndex{byProgram: map[string][]stepRef{}}
	}
	var faults []error
	seen := map[string]bool{}
	for _, d := range list {
		if seen[d.Name] {
			faults = append(faults, fmt.Errorf("%s: there is another detection named %s", d.File, d.Name))
		}
		seen[d.Name] = true
		if d.Disabled {
			continue
		}
		if err := p.add(env, d); err != nil {
			faults = append(faults, err)
		}
	}
	return p, errors.Join(faults...)
}

func (p *Pack) add(env *cel.Env, d content.Detection) error {
	faults := check(d)
	r := &rule{Detection: d, severity: event.Severity(d.Severity), within: time.Duration(d.Within), process: d.By == "process"}
	for i, s := range d.Steps {
		var st step
		var err error
		if s.When.Text != "" {
			if st.when, err = compileExpr(env, d.File, s.When, false); err != nil {
				faults = append(faults, err)
			}
		}
		if len(s.Parents) > 0 {
			parents := p.expand(s.Parents)
			st.parents = make(map[string]bool, len(parents))
			for _, name := range parents {
				st.parents[name] = true
			}
		}
		r.steps = append(r.steps, st)
		for _, k := range s.On {
			idx := p.index[event.Kind(k)]
			if idx == nil {
				faults = append(faults, fmt.Errorf("%s: steps[%d].on: %q is no kind that detections see; use one of %v", d.File, i, k, Kinds()))
				continue
			}
			ref := stepRef{len(p.rules), i}
			if len(s.Programs) == 0 {
				idx.any = append(idx.any, ref)
			}
			for _, name := range p.expand(s.Programs) {
				idx.byProgram[name] = append(idx.byProgram[name], ref)
			}
		}
	}
	if d.Burst != nil {
		var err error
		if r.distinct, err = compileExpr(env, d.File, d.Burst.Distinct, true); err != nil {
			faults = append(faults, err)
		}
	}
	p.rules = append(p.rules, r)
	return errors.Join(faults...)
}

// expand gives the base names that a list of classes, groups and base names
// stands for, without repeats.
func (p *Pack) expand(list []string) []string {
	set := map[string]bool{}
	for _, name := range list {
		if members, ok := p.names.members[name]; ok {
			for _, m := range members {
				set[m] = true
			}
			continue
		}
		set[name] = true
	}
	return slices.Sorted(maps.Keys(set))
}

var (
	nameForm      = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	techniqueForm = regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
)

// check says what is wrong with a detection apart from its expressions.
func check(d content.Detection) (faults []error) {
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: "+format, append([]any{d.File}, args...)...))
	}
	if !nameForm.MatchString(d.Name) || len(d.Name) > 63 {
		bad("name %q: use small letters, digits and single hyphens, at most 63", d.Name)
	}
	for field, text := range map[string]string{"title": d.Title, "what": d.What, "falsePositives": d.FalsePositives, "remedy": d.Remedy} {
		if strings.TrimSpace(text) == "" {
			bad("%s is missing", field)
		}
	}
	if !slices.Contains([]string{"low", "medium", "high", "critical"}, d.Severity) {
		bad("severity %q: use low, medium, high or critical", d.Severity)
	}
	for _, t := range d.Techniques {
		if !techniqueForm.MatchString(t) {
			bad("techniques: %q is no ATT&CK id such as T1059.004", t)
		}
	}
	if len(d.Steps) == 0 || len(d.Steps) > maxSteps {
		bad("steps: %d of them; write 1 to %d", len(d.Steps), maxSteps)
	}
	for i, s := range d.Steps {
		if len(s.On) == 0 {
			bad("steps[%d].on is missing; name the kinds of happenings", i)
		}
		if s.When.Text == "" && len(s.Programs) == 0 && len(s.Parents) == 0 {
			bad("steps[%d] matches everything; give it programs, parents or when", i)
		}
		for _, name := range append(slices.Clone(s.Programs), s.Parents...) {
			if name == "" || strings.Contains(name, "/") {
				bad("steps[%d]: %q is no class, group or base name of a program", i, name)
			}
		}
	}
	if d.By != "" && d.By != "container" && d.By != "process" {
		bad("by %q: use container or process", d.By)
	}
	several := len(d.Steps) > 1 || d.Burst != nil
	switch w := time.Duration(d.Within); {
	case several && w == 0:
		bad("within is missing; say in which time the steps belong together, such as 60s")
	case !several && w != 0:
		bad("within means nothing with one step and no burst")
	case w > maxWithin:
		bad("within %s: at most %s", w, maxWithin)
	}
	if b := d.Burst; b != nil {
		if len(d.Steps) > 1 {
			bad("burst goes with one step only")
		}
		if b.Count < 2 || b.Count > maxBurst {
			bad("burst.count %d: use 2 to %d", b.Count, maxBurst)
		}
		if b.Distinct.Text == "" {
			bad("burst.distinct is missing; write what must differ, such as program")
		}
	}
	return faults
}

// Detections are those of the pack, sorted as they were given.
func (p *Pack) Detections() []content.Detection {
	out := make([]content.Detection, len(p.rules))
	for i, r := range p.rules {
		out[i] = r.Detection
	}
	return out
}
