// Package guard holds the words that the rooms of the node share: what a
// kernel program saw, what it blocked, and what it can guarantee.
//
// It decides nothing and touches no kernel. The one idea: enforcement parts
// (guard/kernel, guard/firewall) report through one Sink, and say of every
// container by which mechanism it is covered and what that is worth.
package guard

import (
	"net/netip"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/policy"
)

// Denial is a cause that policy forbids, with its exact count so far. The same
// ID is reported again whenever Count has grown.
type Denial struct {
	// ID is stable for the cause as long as the kernel maps live, also across
	// agents: derived from the maps' epoch and the cause.
	ID          string
	ContainerID string
	Kind        event.Kind
	Effect      event.Effect // Blocked, WouldBlock or NotBlocked
	Reasons     policy.Reason
	Rule        int // index into the container's Plan.Rules
	Count       uint64
	First, Last time.Time
	Process     event.Process // of the first happening
	Path        string        // exec: the program
	Applet      string        // exec: name a multi-call program acts under
	Peer        netip.Addr    // network
	PeerPort    uint16
	LocalPort   uint16
	Protocol    uint8
	Mechanism   string
	// Operation is what was asked for, where the kind alone does not say:
	// "Read" or "Chmod" (FileAccess), "SYS_ADMIN" (CapabilityUse), the name of a
	// hardening switch (Hardening).
	Operation string
	// Signals of the first happening are as in Observation.
	Signals []string
}

// Observation is behaviour seen for the first time in a container.
type Observation struct {
	ContainerID string
	Kind        event.Kind // ProcessExec, NetworkConnect, NetworkAccept, FileAccess, CapabilityUse
	Time        time.Time
	Process     event.Process
	Path        string
	Applet      string
	InImage     bool // exec: the program is the image's own, unchanged
	Peer        netip.Addr
	PeerPort    uint16
	LocalPort   uint16
	Protocol    uint8
	// Operation is as in Denial. Of FileAccess, Path is the file's directory.
	Operation string
	// Signals are facts about a program start that rules ask for: "stdin-socket",
	// "stdout-socket", "tty", "setuid", "memfd", "deleted", "from-outside" (its
	// parent is not in the container).
	Signals []string
	Count   uint64 // how often it was seen so far; 0 counts as 1
}

// Start is the first program of a container that nobody has told of yet. When
// Held, its process is stopped before its first instruction and goes on when
// the receiver calls Release (or after the bound set in the engine's Config).
type Start struct {
	PID      int
	CgroupID uint64
	Held     bool
	Time     time.Time
}

// Loss counts reports that could not be delivered, per container.
type Loss struct {
	ContainerID  string
	Observations uint64 // first-seen reports dropped; they are reported again when seen again
	Causes       uint64 // denials counted but not told apart
}

// Names of the rings by which a kernel program tells of what it saw.
const (
	RingDenials      = "denials"
	RingObservations = "observations"
)

// Account says what became of the records that kernel programs made for a
// container. No decision and no count of a denial depends on a record.
type Account struct {
	ContainerID string
	Ring        string // RingDenials or RingObservations
	Seen        uint64 // records made, the lost among them
	Lost        uint64 // that found no room
}

// Sink receives what the enforcement parts see. Calls come from one goroutine
// per part and must not block for long; no decision waits for them.
type Sink interface {
	Denied(Denial)
	Observed(Observation)
	Started(Start)
	Lost(Loss)
}

// Coverage says how one section of a container's plan is enforced.
type Coverage struct {
	Section   string `json:"section"`   // "process" or "network"
	Mechanism string `json:"mechanism"` // "raw_tp+kill", "fanotify", "cgroup/connect + tcx", "none"
	// Guarantee is one sentence that says what the mechanism is worth.
	Guarantee string `json:"guarantee"`
	// Degraded says why it is less than it should be; empty when it is not.
	Degraded string `json:"degraded,omitempty"`
	// Unmatched are fields of rules that match nothing in this container.
	Unmatched []string `json:"unmatched,omitempty"`
}

// Feature is one thing a kernel was asked to do by a real attempt.
type Feature struct {
	Name  string `json:"name"`
	Works bool   `json:"works"`
	// Detail says what was tried and, when it does not work, the cause.
	Detail string `json:"detail,omitempty"`
	// Remedy says how to get it, when there is a way.
	Remedy string `json:"remedy,omitempty"`
}
