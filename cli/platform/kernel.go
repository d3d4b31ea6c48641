package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/agent"
	"github.com/gabion-dev/gabion/guard/container"
	"github.com/gabion-dev/gabion/guard/firewall"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/internal/lifecycle"
)

// kernelPart is the enforcing parts, or why they are not there.
type kernelPart struct {
	engine   *kernel.Engine
	firewall *firewall.Firewall
	// why says, for each part that is nil, what was tried and failed.
	why, whyFirewall error
}

// lateSink stands between the parts and the agent that is made after them.
type lateSink struct {
	guard.Sink
}

// holdBound is how long a container's first program may wait for its policy.
// Starting late is better than starting without.
const holdBound = 10 * time.Second

func openKernel(cfg Config, node string, log *slog.Logger, sink guard.Sink) (k kernelPart) {
	open := func() {
		k.engine, k.why = kernel.Open(kernel.Config{PinDir: cfg.Pins, Hold: !cfg.NoHold, HoldBound: holdBound, Node: node}, kernel.Deps{Log: log, Sink: sink, Now: time.Now})
	}
	open()
	if errors.Is(k.why, kernel.ErrLayout) {
		// Another version left this behind; what it enforced is enforced again
		// a moment later, from the same policies.
		log.Warn("pinned state of another version is replaced", "pins", cfg.Pins)
		if err := Remove(cfg.Pins); err == nil {
			open()
		}
	}
	if k.why != nil {
		k.engine = nil
		log.Error("processes cannot be enforced on this machine", "err", k.why)
		k.whyFirewall = errors.New("needs the process programs, which did not load")
		return k
	}
	m := k.engine.Maps()
	k.firewall, k.whyFirewall = firewall.Open(firewall.Config{PinDir: cfg.Pins}, firewall.Deps{
		Log: log, Sink: sink, Now: time.Now, CID: m.CID,
		Maps: firewall.Maps{Settings: m.Settings, Tasks: m.Tasks, Cgroups: m.Cgroups, Containers: m.Containers, Counts: m.Counts, Overflow: m.Overflow},
		Update: func(cid uint32, change func(*firewall.Container)) error {
			return m.Update(cid, func(c *kernel.Container) {
				n := firewall.Container{Flags: c.Flags, Generation: c.Generation, NetMode: c.NetMode, EgressListRule: c.EgressListRule, IngressListRule: c.IngressListRule}
				change(&n)
				c.Flags, c.Generation, c.NetMode, c.EgressListRule, c.IngressListRule = n.Flags, n.Generation, n.NetMode, n.EgressListRule, n.IngressListRule
			})
		},
	})
	if k.whyFirewall != nil {
		k.firewall = nil
		log.Error("connections cannot be enforced on this machine", "err", k.whyFirewall)
	}
	return k
}

// asKernel and asFirewall give nil interfaces for missing parts.
func (k *kernelPart) asKernel() agent.Kernel {
	if k.engine == nil {
		return nil
	}
	return k.engine
}

func (k *kernelPart) asFirewall() agent.Firewall {
	if k.firewall == nil {
		return nil
	}
	return k.firewall
}

// gap is how long nobody watched before an unclean end was noticed.
func (k *kernelPart) gap() time.Duration {
	if k.engine == nil {
		return 0
	}
	return k.engine.Gap()
}

// accounting says what became of the kernel programs' records.
func (k *kernelPart) accounting() ([]guard.Account, error) {
	if k.engine == nil {
		return nil, nil
	}
	return k.engine.Accounting()
}

func (k *kernelPart) run(ctx context.Context, r lifecycle.Reporter) error {
	if k.engine == nil {
		r.Degraded(k.why.Error())
		<-ctx.Done()
		return nil
	}
	r.Ready()
	return k.engine.Run(ctx)
}

func (k *kernelPart) runFirewall(ctx context.Context, r lifecycle.Reporter) error {
	if k.firewall == nil {
		r.Degraded(k.whyFirewall.Error())
		<-ctx.Done()
		return nil
	}
	r.Ready()
	return k.firewall.Run(ctx)
}

// flush reports every count that has grown.
func (k *kernelPart) flush() {
	if k.engine != nil {
		k.engine.Flush()
	}
	if k.firewall != nil {
		k.firewall.Flush()
	}
}

func (k *kernelPart) close() error {
	var errs []error
	if k.firewall != nil {
		errs = append(errs, k.firewall.Close(false))
	}
	if k.engine != nil {
		errs = append(errs, k.engine.Close(false))
	}
	return errors.Join(errs...)
}

// Remove detaches and unpins everything that any Gabion left below pins.
func Remove(pins string) error {
	return errors.Join(firewall.Remove(pins), kernel.Remove(pins))
}

// RemoveLeft is Remove for people: it refuses while a Gabion uses what is there.
func RemoveLeft(pins string) error {
	if st, err := kernel.Installed(pins); err == nil && st.AgentAlive {
		return fmt.Errorf("remove pinned state: the gabion with process number %d uses %s; end it first (it takes everything with it)", st.AgentPID, pins)
	}
	return Remove(pins)
}

// SwitchOff sets or ends the kill switch of whatever is pinned below pins.
func SwitchOff(pins string, off bool) error {
	err := kernel.SwitchOff(pins, off)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set kill switch: no gabion is in the kernel below %s, so everything passes already", pins)
	}
	return err
}

// ProbeKernel tries every kernel feature for real.
func ProbeKernel(ctx context.Context) []guard.Feature {
	return append(kernel.Probe(ctx, ""), firewall.Probe(ctx)...)
}

// ProbeRuntimes asks every container runtime whether it is there.
func ProbeRuntimes(ctx context.Context) []guard.Feature {
	d, err := container.New(container.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil
	}
	defer d.Close()
	return d.Probe(ctx)
}

// Backend is an enforcement mechanism with its state on this machine.
type Backend struct {
	ID        string   `json:"id"`
	Section   string   `json:"section"`
	Active    bool     `json:"active"`
	Guarantee string   `json:"guarantee"`
	Why       string   `json:"why,omitempty"`
	Stops     []string `json:"stops,omitempty"`
	Passes    []string `json:"cannotStop,omitempty"`
}

// Backends judges the known mechanisms by what was tried.
func Backends(features []guard.Feature) []Backend {
	var out []Backend
	tcx := false
	for _, b := range append(kernel.Backends(), firewall.Backends()...) {
		active, why := b.Active(features)
		switch {
		case b.ID == "tcx":
			tcx = active
		case b.ID == "clsact" && active && tcx:
			active, why = false, "it works here, and is not needed: tcx does"
		}
		out = append(out, Backend{ID: b.ID, Section: b.Section, Active: active, Guarantee: b.Guarantee, Why: why, Stops: b.Stops, Passes: b.Passes})
	}
	return out
}

// probed runs the probe once and keeps the answer: loading every program again
// for each look at the overview would cost more than it tells.
type probed struct {
	once     sync.Once
	features []guard.Feature
}

func (p *probed) get(ctx context.Context) []guard.Feature {
	p.once.Do(func() { p.features = ProbeKernel(context.WithoutCancel(ctx)) })
	return p.features
}
