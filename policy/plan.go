// Package policy turns documents of the policy language into Plans and answers
// questions about them: lint, explain, diff, test, learn.
//
// It is pure: it takes documents and values and returns values. It never looks
// at a clock, a kernel or a network. The one idea: Compile merges every policy
// that selects a workload into one Plan whose rules carry the line they came
// from, and one evaluator (Decide) gives the verdict in every mode; the kernel
// programs implement the same decision table and are tested against it.
package policy

import (
	"net/netip"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Plan is everything that policy says of one workload, merged and resolved as
// far as is possible without a node. Equal content has an equal ID.
type Plan struct {
	// ID is "sha256:" and the hex digest of the plan's canonical JSON without ID.
	ID       string       `json:"id"`
	Workload workload.Ref `json:"workload"`
	// Policies names the documents that were merged, sorted.
	Policies  []string           `json:"policies"`
	WhenBlind v1alpha1.WhenBlind `json:"whenBlind"`
	// The sections are nil when no policy has them.
	Process      *ProcessPlan      `json:"process,omitempty"`
	Files        *FilesPlan        `json:"files,omitempty"`
	Capabilities *CapabilitiesPlan `json:"capabilities,omitempty"`
	Hardening    *HardeningPlan    `json:"hardening,omitempty"`
	Network      *NetworkPlan      `json:"network,omitempty"`
	// Rules is indexed by the Rule numbers used below. Rule 0 is "no rule".
	Rules []event.RuleRef `json:"rules"`
}

// ProcessPlan is the merged process section.
type ProcessPlan struct {
	Mode v1alpha1.Mode `json:"mode"`
	// DenyDrift is set when some policy has drift: Deny; DriftRule is its rule.
	DenyDrift bool `json:"denyDrift,omitempty"`
	DriftRule int  `json:"driftRule,omitempty"`
	// Listed is set when some policy has an allow list: then what no Allow
	// rule matches is denied, with ListRule as the rule.
	Listed   bool       `json:"listed,omitempty"`
	ListRule int        `json:"listRule,omitempty"`
	Allow    []ExecRule `json:"allow,omitempty"`
	Deny     []ExecRule `json:"deny,omitempty"`
	// DriftAllow are paths that exceptions take out of drift control; a program
	// among them may also map code that has no file.
	DriftAllow []ExecRule `json:"driftAllow,omitempty"`
	// Waive are programs that exceptions take out of every Deny rule; they are
	// among Allow too. A backend that cannot do this denies more, never less.
	Waive []ExecRule `json:"waive,omitempty"`
}

// Match says how an ExecRule's Path is to be read.
type Match string

// Matches.
const (
	MatchFile  Match = "file"  // exactly this file
	MatchDir   Match = "dir"   // files directly in this directory
	MatchTree  Match = "tree"  // files anywhere below this directory
	MatchNames Match = "names" // any file whose base name is in Names (a class)
)

// ExecRule matches programs.
type ExecRule struct {
	Rule  int      `json:"rule"`
	Match Match    `json:"match"`
	Path  string   `json:"path,omitempty"`  // absolute and clean; without the "/*" or "/**"
	Class string   `json:"class,omitempty"` // set for MatchNames
	Names []string `json:"names,omitempty"`

	// What follows narrows the rule; each is nil when it does not. A backend
	// that cannot tell must not let an allow rule match.

	// Args are patterns of the arguments after the program's own name, one for
	// each: "*" within an argument stands for any text, a last "**" for any
	// further arguments.
	Args []string `json:"args,omitzero"`
	// Parents are the programs that may start it: Entrypoint, a path, or a
	// directory with "/*" or "/**".
	Parents []string `json:"parents,omitzero"`
	// Users are the numbers of the users who may start it.
	Users []uint32 `json:"users,omitzero"`
	// Scripts are the files that an interpreter may be given: paths, or
	// directories with "/*" or "/**". With it, code that comes from elsewhere
	// (-c, -e, standard input) is not matched.
	Scripts []string `json:"scripts,omitzero"`
}

// Entrypoint among an ExecRule's Parents stands for what starts a container's
// first program, or a session in it from outside.
const Entrypoint = "entrypoint"

// NetworkPlan is the merged network section.
type NetworkPlan struct {
	Mode v1alpha1.Mode `json:"mode"`
	// EgressListed and IngressListed are set when a policy has that direction:
	// then what no allow matches is denied, with the ListRule as the rule.
	EgressListed    bool       `json:"egressListed,omitempty"`
	EgressListRule  int        `json:"egressListRule,omitempty"`
	IngressListed   bool       `json:"ingressListed,omitempty"`
	IngressListRule int        `json:"ingressListRule,omitempty"`
	Egress          []PeerRule `json:"egress,omitempty"`  // allows and denies
	Ingress         []PeerRule `json:"ingress,omitempty"` // allows and denies
}

// PeerRule allows or denies new connections with a set of peers. A deny that
// matches wins over every allow.
type PeerRule struct {
	Rule int  `json:"rule"`
	Deny bool `json:"deny,omitempty"`
	// Prefixes are the peers given by address; Workloads those that the node
	// resolves to addresses as containers come and go. NodeAddresses stands for
	// the node's own addresses. All empty: any peer.
	Prefixes      []netip.Prefix     `json:"prefixes,omitempty"`
	Workloads     []WorkloadSelector `json:"workloads,omitempty"`
	NodeAddresses bool               `json:"nodeAddresses,omitempty"`
	// Ports: empty means any protocol and port.
	Ports []PortRange `json:"ports,omitempty"`
}

// WorkloadSelector selects peers among the workloads known to the node.
type WorkloadSelector struct {
	Namespace   string            `json:"namespace,omitempty"` // empty: any
	Name        string            `json:"name,omitempty"`      // glob; empty: any
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// PortRange is an inclusive range of destination ports of one IP protocol.
// Protocols without ports (icmp, sctp as a whole) have Lo 0 and Hi 65535.
type PortRange struct {
	Protocol uint8  `json:"protocol"` // IANA: 1 icmp, 6 tcp, 17 udp, 58 icmpv6, 132 sctp
	Lo       uint16 `json:"lo"`
	Hi       uint16 `json:"hi"`
}

// Reason is a bit set of why a verdict was reached.
type Reason uint32

// Reasons. The values are part of the kernel programs' layout (bpf/gabion.h).
const (
	ReasonDenied     Reason = 1 << iota // a deny rule matched
	ReasonNotListed                     // an allow list exists and nothing in it matched
	ReasonDrift                         // the executable is not in the image
	ReasonChanged                       // the executable is in the image but its content was changed
	ReasonFileless                      // the executable has no name in any file system (memfd, deleted)
	ReasonTooDeep                       // the path is deeper than the kernel program follows
	ReasonUnknown                       // something the decision needs could not be read
	ReasonQuarantine                    // the container is cut off
	ReasonFamily                        // a socket family that bypasses the firewall
)

// Exec is what a decision about starting a program needs to know.
type Exec struct {
	Path string `json:"path"` // as the container sees it, links resolved
	// Applet is set for multi-call programs (busybox): the name it acts under.
	Applet   string `json:"applet,omitempty"`
	InImage  bool   `json:"inImage"`  // the image has a file at this path
	Changed  bool   `json:"changed"`  // and its content was changed since
	Fileless bool   `json:"fileless"` // no name in any file system

	// Args are the arguments after the program's own name.
	Args []string `json:"args,omitempty"`
	// Parent is the program that starts it; empty when that is outside the container.
	Parent string `json:"parent,omitempty"`
	UID    uint32 `json:"uid,omitempty"`
	// Script is the file that an interpreter is given to run, links resolved;
	// empty for none, for code in an argument, and for standard input.
	Script string `json:"script,omitempty"`
}

// Conn is what a decision about a new connection needs to know.
type Conn struct {
	Ingress  bool       `json:"ingress"`
	Peer     netip.Addr `json:"peer"`
	Protocol uint8      `json:"protocol"`
	Port     uint16     `json:"port"` // destination port
}

// Decision is a verdict with its cause. It does not depend on the mode.
type Decision struct {
	Deny    bool   `json:"deny"`
	Reasons Reason `json:"reasons,omitempty"`
	Rule    int    `json:"rule,omitempty"` // index into Plan.Rules
}
