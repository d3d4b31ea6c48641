// Package scenario re-enacts, safely, the attack that has been in the news for
// years: a management surface without a login, its powerful token, a download,
// a miner. It runs once without protection and once with, next to fifty
// ordinary operations, and says step by step what happened and what stopped it.
//
// It contains no exploit and no mining code (see scenario/program), and all
// traffic stays in network namespaces of its own (see scenario/lab). It knows
// nothing of how Gabion protects: it drives a Platform from outside and takes
// what stopped a step from the events that the platform recorded.
//
// The one idea: nothing here is asserted. Whether a step succeeded is judged
// from the attacker's side (a proof that hostile code ran, a secret read, a
// share that the pool verified), and a step that failed without an event that
// explains it makes the whole run fail.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/scenario/program"
	"github.com/gabion-dev/gabion/workload"
)

// Namespaces are those of the workloads that the re-enactment makes.
func Namespaces() []string { return []string{namespaceBefore, namespace} }

// Layers of protection that a run can turn on.
const (
	Guard    = "guard"    // which programs may run
	Firewall = "firewall" // which connections may be made and accepted
)

// ErrLayer: Options.Layers names something that does not exist.
var ErrLayer = errors.New("unknown layer")

// Platform is what the re-enactment needs of Gabion.
type Platform interface {
	// Apply creates or replaces the policies in docs (YAML, several documents).
	Apply(ctx context.Context, docs []byte) error
	// Remove takes policies away; an id is "WorkloadPolicy/namespace/name".
	Remove(ctx context.Context, ids ...string) error
	// AwaitCovered returns when the container is enforced with the present
	// policies in the mode given ("Learn" when no policy selects it).
	AwaitCovered(ctx context.Context, containerID, planMode string) error
	// Events gives what was recorded with Last at or after since.
	Events(ctx context.Context, since time.Time) ([]event.Event, error)
	// LearnPolicy gives a policy document in the mode, made of what was learned
	// about the workload.
	LearnPolicy(ctx context.Context, ref workload.Ref, mode v1alpha1.Mode) ([]byte, error)
}

// Options of a run. The zero value of every field has a meaning.
type Options struct {
	// Layers that the second attack meets in Protect: Guard, Firewall. Empty
	// means both. Sections of a layer that is not named stay in Monitor.
	Layers []string
	// Dir is where a directory with images and containers is made, on a file
	// system that can be an overlay's upper layer. Empty: the system's
	// directory for temporary files. It is removed at the end; those of runs
	// that were killed are removed by the next run with the same Dir.
	Dir string
	// StateDir is where containers are written down for discovery; empty means
	// minicontainer's own default.
	StateDir string
	// Binary is the executable that the containers are made of; it must be
	// static and call Main first thing. Empty: the running one.
	Binary string
	// Out gets progress for people. Empty: nothing is printed.
	Out io.Writer
	// Colour allows colour in the table that RunAndStay prints.
	Colour bool
	Log    *slog.Logger
	// OnResult is called by RunAndStay when the story has been told.
	OnResult func(*Result)
	// Now is the clock that attempts are timed with. Empty: time.Now.
	Now func() time.Time
}

// storyLimit ends a run however slow the machine is.
const storyLimit = 4 * time.Minute

// cleanLimit bounds the taking down, which happens also after ctx has ended.
const cleanLimit = 20 * time.Second

// Main acts as one of the re-enactment's programs when argv[0] names one and
// GABION_SCENARIO is 1, and then never returns. Otherwise it returns false.
// Every executable that starts a scenario calls it first thing in main.
func Main(argv []string) bool { return program.Main(argv) }

// Run tells the whole story once, takes everything down again and returns what
// happened. An error means that the story could not be told, not that the
// attack succeeded; for that see Result.Pass.
func Run(ctx context.Context, o Options, p Platform) (*Result, error) {
	s, err := newStory(ctx, o, p)
	if err != nil {
		return nil, fmt.Errorf("run scenario: %w", err)
	}
	res, err := s.tell(ctx)
	if err = errors.Join(err, s.close(ctx)); err != nil {
		return nil, fmt.Errorf("run scenario: %w", err)
	}
	return res, nil
}

// RunAndStay tells the story, prints its table to Options.Out, and then keeps
// the protected workloads running with light ordinary traffic until ctx ends.
// Ending that way is no error.
func RunAndStay(ctx context.Context, o Options, p Platform) error {
	s, err := newStory(ctx, o, p)
	if err != nil {
		return fmt.Errorf("run scenario: %w", err)
	}
	res, err := s.tell(ctx)
	if err == nil {
		if o.Out != nil {
			res.Table(o.Out, o.Colour)
		}
		if o.OnResult != nil {
			o.OnResult(res)
		}
		s.stay(ctx)
	}
	if ctx.Err() != nil {
		err = nil // asked to end, in the middle or at the end
	}
	if err = errors.Join(err, s.close(ctx)); err != nil {
		return fmt.Errorf("run scenario: %w", err)
	}
	return nil
}

func (o *Options) fill() error {
	if len(o.Layers) == 0 {
		o.Layers = []string{Guard, Firewall}
	}
	for _, l := range o.Layers {
		if l != Guard && l != Firewall {
			return fmt.Errorf("%w %q: there are %q and %q", ErrLayer, l, Guard, Firewall)
		}
	}
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	if o.Binary == "" {
		o.Binary = "/proc/self/exe"
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

func (o *Options) has(layer string) bool { return slices.Contains(o.Layers, layer) }
