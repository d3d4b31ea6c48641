// Package event is the one schema of everything that happens in Gabion.
//
// Every room speaks of happenings with an Event and nothing else; encoders for
// other schemas live below this package. The one idea: an event has a cause
// (a workload, a kind, a rule, an object), and a cause has exactly one event
// whose Count grows. The same ID with a larger Count replaces the earlier
// record, so counts stay exact across repeats, restarts and re-deliveries.
package event

import (
	"net/netip"
	"time"

	"github.com/gabion-dev/gabion/workload"
)

// Kind says what happened. Kinds are dotted, from general to special.
type Kind string

// The kinds that exist. Kinds lists them all.
const (
	ProcessExec     Kind = "process.exec"     // a program was started
	ProcessDrift    Kind = "process.drift"    // an executable that the image does not have
	ProcessFileless Kind = "process.fileless" // an executable that lives only in memory
	NetworkConnect  Kind = "network.connect"  // a connection or datagram leaving the workload
	NetworkAccept   Kind = "network.accept"   // a connection or datagram reaching the workload
	NetworkSocket   Kind = "network.socket"   // a socket of a family that bypasses the firewall
	FileAccess      Kind = "file.access"      // a file was used
	CapabilityUse   Kind = "capability.use"   // a capability was asked for
	Hardening       Kind = "hardening"        // a way out of containers was tried
	Detection       Kind = "detection"        // behaviour that a detection describes
	ContainerStart  Kind = "container.start"
	ContainerStop   Kind = "container.stop"
	PolicyChange    Kind = "policy.change"   // a policy was loaded, changed, removed or refused
	PolicyPromote   Kind = "policy.promote"  // a mode was changed on purpose
	ResponseAction  Kind = "response.action" // an automatic or manual action was taken or undone
	AgentHealth     Kind = "agent.health"    // a part started, degraded, recovered or stopped
	AgentLoss       Kind = "agent.loss"      // observations or records were lost, with the exact count
	ConsoleAccess   Kind = "console.access"  // someone signed in, was refused, or changed something
	ImageFindings   Kind = "image.findings"  // an image has vulnerabilities or secrets it was not known to have
	ImageViolation  Kind = "image.violation" // an image is beyond what its ScanTarget allows
	ImageFailed     Kind = "image.failed"    // an image or registry could not be examined, or not completely
)

// Kinds names every kind, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		ProcessExec, ProcessDrift, ProcessFileless, NetworkConnect, NetworkAccept, NetworkSocket,
		FileAccess, CapabilityUse, Hardening, Detection,
		ContainerStart, ContainerStop, PolicyChange, PolicyPromote, ResponseAction, AgentHealth,
		AgentLoss, ConsoleAccess, ImageFindings, ImageViolation, ImageFailed,
	}
}

// Severity ranks events for people. The zero value is Info.
type Severity string

// Severities, lowest first.
const (
	Info     Severity = "info"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Rank orders severities: 0 for Info (and for anything unknown) to 4.
func (s Severity) Rank() int {
	switch s {
	case Low:
		return 1
	case Medium:
		return 2
	case High:
		return 3
	case Critical:
		return 4
	}
	return 0
}

// Verdict is what the policy said of the happening, whatever the mode.
type Verdict string

// Verdicts. An event that is no decision (a container started) has none.
const (
	Allow Verdict = "allow"
	Deny  Verdict = "deny"
)

// Effect is what was done about it: the verdict seen through the mode.
type Effect string

// Effects.
const (
	Observed   Effect = "observed"    // recorded (Learn, or an allowed happening)
	WouldBlock Effect = "would-block" // Monitor: Protect would have blocked this
	Blocked    Effect = "blocked"     // it did not happen
	NotBlocked Effect = "not-blocked" // Protect wanted to block and could not; Reasons say why
)

// Process describes the process that did it. Paths are as the container sees them.
type Process struct {
	PID        int      `json:"pid,omitempty"` // host's number
	PPID       int      `json:"ppid,omitempty"`
	UID        uint32   `json:"uid"`
	Exe        string   `json:"exe,omitempty"`
	Args       []string `json:"args,omitempty"`
	ParentExe  string   `json:"parentExe,omitempty"`
	ParentArgs []string `json:"parentArgs,omitempty"`
}

// Peer is the other end of a network happening.
type Peer struct {
	Addr     netip.Addr `json:"addr,omitzero"`
	Port     uint16     `json:"port,omitempty"`
	Protocol string     `json:"protocol,omitempty"` // tcp, udp, icmp, sctp, or a number
	// Workload is set when the address belongs to a workload that is known here.
	Workload workload.Ref `json:"workload,omitzero"`
	// LocalPort is the workload's own port for NetworkAccept.
	LocalPort uint16 `json:"localPort,omitempty"`
}

// RuleRef points at the line of policy that decided.
type RuleRef struct {
	Policy string `json:"policy,omitempty"` // "WorkloadPolicy/shop/checkout"
	Field  string `json:"field,omitempty"`  // "spec.process.deny[0]"
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}

// Event is one happening, or one cause with an exact count of its happenings.
type Event struct {
	// ID is stable for a cause: a later record with the same ID and a larger
	// Count replaces the earlier one.
	ID string `json:"id"`
	// Seq is given by the store, in order of arrival; 0 before that.
	Seq  uint64 `json:"seq,omitempty"`
	Kind Kind   `json:"kind"`
	// First and Last bound the happenings counted in Count (UTC).
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Count is exact: how often this cause happened between First and Last.
	Count    uint64   `json:"count"`
	Severity Severity `json:"severity"`
	Verdict  Verdict  `json:"verdict,omitempty"`
	Effect   Effect   `json:"effect,omitempty"`
	Mode     string   `json:"mode,omitempty"` // Learn, Monitor, Protect
	// Message is one sentence a person can read without the other fields.
	Message string `json:"message"`

	Node        string       `json:"node,omitempty"`
	Workload    workload.Ref `json:"workload,omitzero"`
	ContainerID string       `json:"containerID,omitempty"`
	Container   string       `json:"container,omitempty"` // its name
	Image       string       `json:"image,omitempty"`

	Process *Process `json:"process,omitempty"`
	// Path is the file acted on (for exec: the program), as the container sees it.
	Path string `json:"path,omitempty"`
	Peer *Peer  `json:"peer,omitempty"`

	// Reasons are stable words: "not-listed", "denied", "drift", "fileless", ...
	Reasons []string `json:"reasons,omitempty"`
	Rule    *RuleRef `json:"rule,omitempty"`
	// Technique holds MITRE ATT&CK ids ("T1496").
	Technique []string `json:"technique,omitempty"`
	// Mechanism is what decided or acted: "raw_tp+kill", "fanotify",
	// "cgroup/connect", "tcx", "respond".
	Mechanism string `json:"mechanism,omitempty"`
	// Evidence is raw detail by name; values are never secrets.
	Evidence map[string]string `json:"evidence,omitempty"`
	// Actor is the person or component for changes made on purpose.
	Actor string `json:"actor,omitempty"`
}
