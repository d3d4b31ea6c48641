package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Group and Version name the API in apiVersion: "gabion.dev/v1alpha1".
const (
	Group      = "gabion.dev"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// Mode is how far a policy goes. Learn records, Monitor reports what Protect
// would do, Protect does it.
type Mode string

// Modes, weakest first.
const (
	Learn   Mode = "Learn"
	Monitor Mode = "Monitor"
	Protect Mode = "Protect"
)

// WhenBlind says what a node does with a container that it cannot enforce on.
type WhenBlind string

// WhenBlind values: Open lets it run and says so, Closed stops it.
const (
	Open   WhenBlind = "Open"
	Closed WhenBlind = "Closed"
)

// Action is the outcome a rule asks for.
type Action string

// Actions.
const (
	Allow Action = "Allow"
	Deny  Action = "Deny"
)

// WorkloadPolicy says what the selected containers of its own namespace may do.
type WorkloadPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              WorkloadPolicySpec `json:"spec"`
}

// ClusterWorkloadPolicy says the same of containers in any namespace.
type ClusterWorkloadPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              WorkloadPolicySpec `json:"spec"`
}

// WorkloadPolicySpec is the body of both workload policy kinds.
type WorkloadPolicySpec struct {
	Selector Selector `json:"selector"`
	// Mode is the default for every section. Default: Monitor.
	Mode Mode `json:"mode,omitempty"`
	// WhenBlind: default Open.
	WhenBlind WhenBlind    `json:"whenBlind,omitempty"`
	Process   *ProcessSpec `json:"process,omitempty"`
	Network   *NetworkSpec `json:"network,omitempty"`
}

// Selector chooses containers. Present fields must all match; an empty
// selector matches every container in the policy's reach.
type Selector struct {
	MatchLabels      map[string]string                 `json:"matchLabels,omitempty"`
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
	// Workloads, Containers, Images and ServiceAccounts are glob patterns
	// ("*" within a segment); one of each present list must match.
	Workloads       []string `json:"workloads,omitempty"`
	Containers      []string `json:"containers,omitempty"`
	Images          []string `json:"images,omitempty"`
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
	// Namespaces is for ClusterWorkloadPolicy only.
	Namespaces []string `json:"namespaces,omitempty"`
}

// ProcessSpec says which programs may run.
type ProcessSpec struct {
	Mode Mode `json:"mode,omitempty"`
	// Drift: Deny forbids executables that are not in the image.
	Drift Action `json:"drift,omitempty"`
	// Allow is the whole truth when present (even if empty): anything else is denied.
	Allow []ProcessRule `json:"allow,omitempty"`
	Deny  []ProcessRule `json:"deny,omitempty"`
}

// ProcessRule names programs by path or by class; exactly one of the two.
type ProcessRule struct {
	// Path is absolute, as the container sees it. "/dir/*" means files directly
	// in it, "/dir/**" anything below; elsewhere no wildcards.
	Path string `json:"path,omitempty"`
	// Class is a name from content/classes: shell, package-manager, ...
	Class  string `json:"class,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// NetworkSpec says which connections may be made and accepted. A direction
// that is present is the whole truth for new connections of that direction.
type NetworkSpec struct {
	Mode    Mode           `json:"mode,omitempty"`
	Ingress []IngressRule  `json:"ingress,omitempty"`
	Egress  []EgressRule   `json:"egress,omitempty"`
	Deny    *NetworkDenies `json:"deny,omitempty"`
}

// NetworkDenies are rules that win over every allow.
type NetworkDenies struct {
	Ingress []IngressRule `json:"ingress,omitempty"`
	Egress  []EgressRule  `json:"egress,omitempty"`
}

// IngressRule allows (or denies) connections from peers to the workload's ports.
type IngressRule struct {
	From   []Peer `json:"from,omitempty"` // empty: anyone
	Ports  []Port `json:"ports,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// EgressRule allows (or denies) connections from the workload to peers' ports.
type EgressRule struct {
	To     []Peer `json:"to,omitempty"` // empty: anywhere
	Ports  []Port `json:"ports,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Peer is one other end; exactly one field is set.
type Peer struct {
	Workload *WorkloadPeer `json:"workload,omitempty"`
	// CIDR is an IPv4 or IPv6 prefix ("10.20.0.0/16") or address.
	CIDR string `json:"cidr,omitempty"`
	// Entity: Any, Internet (public addresses), Node, Metadata (169.254.169.254, fd00:ec2::254).
	Entity string `json:"entity,omitempty"`
}

// WorkloadPeer selects workloads by label. A namespaced policy's peer is in its
// own namespace unless Namespace says another.
type WorkloadPeer struct {
	Namespace   string            `json:"namespace,omitempty"`
	Name        string            `json:"name,omitempty"`
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// Port is "tcp/443", "udp/53", "tcp/8000-8010", "tcp", "udp", "icmp", "sctp".
type Port string
