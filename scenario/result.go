package scenario

import (
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/internal/term"
)

// What became of a step.
const (
	Succeeded = "succeeded" // the attacker got what he wanted
	Detected  = "detected"  // he got it, and an event says so
	Stopped   = "stopped"   // he did not, and an event says why
	Failed    = "failed"    // he did not, and nobody knows why
)

// Unexplained is StoppedBy of a step that failed without an event.
const Unexplained = "unexplained"

// StepResult is one row of the matrix.
type StepResult struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Technique   string `json:"technique"` // MITRE ATT&CK ids, comma-separated
	Unprotected string `json:"unprotected"`
	Protected   string `json:"protected"`
	// StoppedBy is mechanism, reasons and rule of the event that explains it.
	StoppedBy string `json:"stopped_by"`
	// LatencyMS is the time from the attempt to the event, in milliseconds.
	// It is 0 when there is no event.
	LatencyMS int64 `json:"latency_ms"`
}

// Shares are what the pool verified.
type Shares struct {
	Unprotected uint64 `json:"unprotected"`
	Protected   uint64 `json:"protected"`
}

// Benign counts the ordinary operations.
type Benign struct {
	Run     int `json:"run"`
	Blocked int `json:"blocked"`
}

// Result is what happened. Its JSON is documented and stable.
type Result struct {
	Steps  []StepResult `json:"steps"`
	Shares Shares       `json:"shares"`
	Benign Benign       `json:"benign"`
	// Pass is true when the attack was complete without protection, no share
	// reached the pool with it, every step that a layer in Protect answers for
	// was stopped and explained, and no ordinary operation was hindered.
	Pass bool `json:"pass"`
	// Problems says in sentences why Pass is false, and what else was odd.
	Problems []string `json:"-"`
	// Layers are those that were in Protect.
	Layers []string `json:"-"`
}

func (r *Result) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// minBenign is how many ordinary operations a run must have made to pass.
const minBenign = 50

// judge fills Pass from the rest.
func (r *Result) judge(all []step, o *Options) {
	for i, st := range all {
		row := r.Steps[i]
		if row.Unprotected != Succeeded {
			r.problem("%s did not succeed without protection: the comparison is worth nothing", st.id)
		}
		if row.Protected == Failed {
			r.problem("%s failed and no event says why", st.id)
		}
		for _, l := range st.layers {
			if o.has(l) && row.Protected != Stopped && row.Protected != Failed {
				r.problem("%s was not stopped although %s answers for it", st.id, l)
				break
			}
		}
	}
	if r.Shares.Unprotected == 0 {
		r.problem("no share reached the pool without protection: the comparison is worth nothing")
	}
	if r.Shares.Protected > 0 {
		r.problem("%d shares reached the pool in spite of the protection", r.Shares.Protected)
	}
	if r.Benign.Run < minBenign {
		r.problem("only %d of %d ordinary operations were made", r.Benign.Run, minBenign)
	}
	if r.Benign.Blocked > 0 {
		r.problem("%d ordinary operations were hindered", r.Benign.Blocked)
	}
	r.Pass = len(r.Problems) == 0
}

// Table prints the matrix for people: step, technique, without Gabion, with
// Gabion, stopped by, seen after.
func (r *Result) Table(w io.Writer, colour bool) {
	p := term.New(w)
	p.Colour = colour
	style := func(word string) term.Style {
		switch word {
		case Stopped:
			return term.Good
		case Detected:
			return term.Warn
		}
		return term.Bad
	}
	rows := make([][]term.Cell, 0, len(r.Steps))
	for _, s := range r.Steps {
		after := "-"
		switch {
		case s.Protected != Stopped && s.Protected != Detected: // no event
		case s.LatencyMS == 0:
			after = "<1 ms"
		default:
			after = fmt.Sprintf("%d ms", s.LatencyMS)
		}
		by := s.StoppedBy
		if by == "" {
			by = "-"
		}
		rows = append(rows, []term.Cell{
			{Text: s.ID, Style: term.Strong}, {Text: s.Title}, {Text: s.Technique, Style: term.Faint},
			{Text: s.Unprotected, Style: style(s.Unprotected)}, {Text: s.Protected, Style: style(s.Protected)},
			{Text: strings.ReplaceAll(by, "WorkloadPolicy/", "")}, {Text: after},
		})
	}
	p.Table([]string{"STEP", "", "TECHNIQUE", "WITHOUT GABION", "WITH GABION", "STOPPED BY", "SEEN AFTER"}, rows)
	verdict := p.Paint(term.Good, "PASS")
	if !r.Pass {
		verdict = p.Paint(term.Bad, "FAIL")
	}
	fmt.Fprintf(w, "\nshares that reached the pool: %d without, %d with Gabion; ordinary operations: %d of %d undisturbed; layers in Protect: %s; %s\n",
		r.Shares.Unprotected, r.Shares.Protected, r.Benign.Run-r.Benign.Blocked, r.Benign.Run, strings.Join(r.Layers, ", "), verdict)
	for _, x := range r.Problems {
		fmt.Fprintf(w, "  %s\n", x)
	}
}
