package detect

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/common/types"

	"github.com/gabion-dev/gabion/event"
)

// Match is a detection that found what it describes. The same ID comes again
// with a larger Count when it finds it again.
type Match struct {
	// ID is stable for the container, the detection and the object of the first
	// step, as long as the engine remembers the container.
	ID         string
	Detection  string
	Title      string
	Severity   event.Severity
	Techniques []string
	Remedy     string
	File       string
	Container  string
	// Object is what the first step was about.
	Object      string
	First, Last time.Time
	Count       uint64
	// Steps are the happenings that belong together, in the order in which they
	// came; of a burst the last ones.
	Steps []Happening
	// Effect is Blocked when policy stopped one of the steps.
	Effect event.Effect
}

// Stats are sums since the engine was made.
type Stats struct {
	Happenings uint64
	Matches    uint64
	// Failed counts expressions that gave no answer, by detection: their cost was
	// over the bound or they asked for what is not there.
	Failed map[string]uint64
	// Forgotten counts sequences that were begun and dropped for want of room, and
	// containers that were dropped whole.
	Forgotten uint64
	// Containers is of how many something is remembered now.
	Containers int
}

// Engine evaluates a pack. It is safe for concurrent use.
type Engine struct {
	mu         sync.Mutex
	pack       *Pack
	containers map[string]*container
	stats      Stats
}

// New makes an engine that remembers nothing.
func New(p *Pack) *Engine {
	return &Engine{pack: p, containers: map[string]*container{}, stats: Stats{Failed: map[string]uint64{}}}
}

// Handle takes the next happening and gives what it completed. Happenings of
// one container should come in about the order of their times.
func (e *Engine) Handle(h Happening) []Match {
	switch h.Kind {
	case event.ProcessDrift:
		h.Kind, h.Dropped = event.ProcessExec, true
	case event.ProcessFileless:
		h.Kind, h.Dropped = event.ProcessExec, true
		h.Signals = append([]string{"memfd"}, h.Signals...)
	}
	idx := e.pack.index[h.Kind]
	if idx == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Happenings++
	c := e.container(h.Container, h.Time)
	v := &view{h: &h, names: e.pack.names}
	c.place(v)

	var out []Match
	program := h.Program()
	for _, ref := range idx.any {
		out = e.step(out, c, v, ref)
	}
	refs := idx.byProgram[program]
	for _, ref := range refs {
		out = e.step(out, c, v, ref)
	}
	if f := family(program); f != program && len(refs) == 0 {
		for _, ref := range idx.byProgram[f] {
			out = e.step(out, c, v, ref)
		}
	}
	e.stats.Matches += uint64(len(out))
	return out
}

// step evaluates one step and, when the happening is it, what that completes.
func (e *Engine) step(out []Match, c *container, v *view, ref stepRef) []Match {
	r := e.pack.rules[ref.rule]
	s := &r.steps[ref.step]
	if s.parents != nil && !s.parents[v.parent] && !s.parents[family(v.parent)] {
		return out
	}
	if s.when != nil && !e.holds(r, s, v) {
		return out
	}
	var steps []Happening
	switch {
	case r.distinct != nil:
		val, _, err := r.distinct.Eval(v)
		text, ok := val.(types.String)
		if err != nil || !ok {
			e.stats.Failed[r.Name]++
			return out
		}
		steps = c.burst(ref.rule, r, string(text), v.h)
	case len(r.steps) == 1:
		steps = []Happening{*v.h}
	default:
		var dropped int
		steps, dropped = c.advance(ref.rule, r, ref.step, v)
		e.stats.Forgotten += uint64(dropped)
	}
	if steps == nil {
		return out
	}
	return append(out, c.found(ref.rule, r, steps, v.h))
}

func (e *Engine) holds(r *rule, s *step, v *view) bool {
	val, _, err := s.when.Eval(v)
	yes, ok := val.(types.Bool)
	if err != nil || !ok {
		e.stats.Failed[r.Name]++
		return false
	}
	return bool(yes)
}

// Forget drops what is remembered of a container.
func (e *Engine) Forget(container string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, container)
}

// Stats gives the sums so far.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Containers = len(e.containers)
	s.Failed = make(map[string]uint64, len(e.stats.Failed))
	for k, n := range e.stats.Failed {
		s.Failed[k] = n
	}
	return s
}

// object names what a step was about, as part of a match's ID.
func object(r *rule, h *Happening) string {
	if r.distinct != nil {
		return ""
	}
	switch h.Kind {
	case event.NetworkConnect:
		return strings.TrimSpace(fmt.Sprintf("%s %s", h.Exe, h.Peer))
	case event.NetworkAccept:
		return fmt.Sprintf("%s port %d", h.Exe, h.LocalPort)
	case event.FileAccess:
		return h.Path + " " + h.Operation
	case event.CapabilityUse, event.Hardening, event.NetworkSocket:
		return strings.TrimSpace(h.Exe + " " + h.Operation)
	}
	if h.Applet != "" {
		return h.Exe + " as " + h.Applet
	}
	return h.Exe
}
