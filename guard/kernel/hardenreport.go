package kernel

import (
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// Kinds of a CountKey that hardening counts.
const (
	kindCap    = 9
	kindHarden = 10
)

// effectSeen is the effect of what was seen while learning.
const effectSeen = 4

func isHardening(kind uint8) bool { return kind == kindCap || kind == kindHarden }

// what is the number of the switch or capability that a cause is about.
func (k CountKey) what() int { return int(k.Object >> 56) }

// describeHardening says what is known of a use of a switch or capability.
func (e *Engine) describeHardening(containerID string, key CountKey) guard.Denial {
	d := guard.Denial{
		ID: denialID(e.epoch, key), ContainerID: containerID, Kind: event.Hardening,
		Reasons: policy.Reason(key.Reasons), Rule: int(key.Rule), Mechanism: "none",
	}
	hook := hookCapable
	if key.Kind == kindCap {
		d.Kind, d.Operation = event.CapabilityUse, policy.CapabilityName(key.what())
	} else {
		s := policy.Switch(key.what()) //nolint:gosec // seven bits
		d.Operation = s.String()
		hook = hookBPF
		if parts := switchParts(s); len(parts) > 0 {
			hook = parts[0].hook
			if v, ok := e.hooks.refuses(setHardenB, parts[0].instead); ok {
				d.Mechanism = mechanismOf(v)
			}
		} else if key.what() == switchAgent {
			d.Operation = "agent"
		}
	}
	if v, ok := e.hooks.refuses(setHarden, hook); ok {
		d.Mechanism = v.mechanism()
	}
	switch key.Effect {
	case effectBlocked:
		d.Effect = event.Blocked
	case effectWouldBlock:
		d.Effect = event.WouldBlock
	default:
		d.Effect = event.NotBlocked
	}
	var det execDetail
	if e.l.maps.details.Lookup(key, &det) == nil {
		d.Process, _, d.Applet = e.process(key.CID, &det)
		if det.HasApplet == 0 {
			d.Path = cString(det.Applet[:]) // what it was done to
		}
	}
	return d
}

// seenHardening tells of a use that was seen while learning.
func (e *Engine) seenHardening(d guard.Denial) {
	e.sink.Observed(guard.Observation{
		ContainerID: d.ContainerID, Kind: d.Kind, Time: d.Last, Process: d.Process, Path: d.Path,
		Applet: d.Applet, Operation: d.Operation, Count: d.Count,
	})
}
