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
	// Spec says what the selected containers may do.
	Spec WorkloadPolicySpec `json:"spec"`
}

// ClusterWorkloadPolicy says the same of containers in any namespace.
type ClusterWorkloadPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec says what the selected containers may do.
	Spec WorkloadPolicySpec `json:"spec"`
}

// WorkloadPolicySpec is the body of both workload policy kinds.
type WorkloadPolicySpec struct {
	// Selector chooses the containers; "{}" means all of them.
	Selector Selector `json:"selector"`
	// Mode is the default for every section. Default: Monitor.
	Mode Mode `json:"mode,omitempty"`
	// WhenBlind: default Open.
	WhenBlind WhenBlind `json:"whenBlind,omitempty"`
	// Process says which programs may run; absent: nothing is said of them.
	Process *ProcessSpec `json:"process,omitempty"`
	// Files says which files may be used how, and by whom; a file that no rule
	// covers is free. The mode is the policy's.
	Files []FileRule `json:"files,omitempty"`
	// Capabilities says which capabilities may be used; absent: those that the
	// containers were given.
	Capabilities *CapabilitiesSpec `json:"capabilities,omitempty"`
	// Hardening forbids ways out of the container; absent: none is forbidden here.
	Hardening *HardeningSpec `json:"hardening,omitempty"`
	// Network says which connections may be made and accepted; absent: nothing
	// is said of them.
	Network *NetworkSpec `json:"network,omitempty"`
}

// Selector chooses containers. Present fields must all match; an empty
// selector matches every container in the policy's reach.
type Selector struct {
	// MatchLabels are labels the container must have, with these values.
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	// MatchExpressions are conditions on labels: In, NotIn, Exists, DoesNotExist.
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
	// Workloads are glob patterns for the workload's name ("*" within a
	// segment, "**" across); as in every list here, one of them must match.
	Workloads []string `json:"workloads,omitempty"`
	// Containers are glob patterns for the container's name.
	Containers []string `json:"containers,omitempty"`
	// Images are glob patterns for the image: "nginx", "nginx:1.*",
	// "registry.example/team/**".
	Images []string `json:"images,omitempty"`
	// ServiceAccounts are glob patterns for the service account's name.
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
	// Namespaces are glob patterns, for documents of cluster scope only.
	Namespaces []string `json:"namespaces,omitempty"`
}

// ProcessSpec says which programs may run.
type ProcessSpec struct {
	// Mode of this section; default: the policy's mode.
	Mode Mode `json:"mode,omitempty"`
	// Drift: Deny forbids executables that are not in the image.
	Drift Action `json:"drift,omitempty"`
	// Allow is the whole truth when present (even if empty): anything else is denied.
	Allow []ProcessRule `json:"allow,omitzero"`
	// Deny wins over every allow.
	Deny []ProcessRule `json:"deny,omitempty"`
}

// ProcessRule names programs by path or by class; exactly one of the two. The
// conditions narrow it: all that are present must hold.
type ProcessRule struct {
	// Path is absolute, as the container sees it. "/dir/*" means files directly
	// in it, "/dir/**" anything below; elsewhere no wildcards.
	Path string `json:"path,omitempty"`
	// Class is a name from content/classes: shell, package-manager, ...
	Class string `json:"class,omitempty"`
	// Args are the arguments after the program's own name, one pattern for each:
	// "*" stands for any text within an argument, a last "**" for any further
	// arguments. Present but empty: no arguments.
	Args []string `json:"args,omitzero"`
	// Parents are the programs that may start it: "entrypoint" (what starts the
	// container or a session in it from outside), or paths, written as Path.
	Parents []string `json:"parents,omitempty"`
	// Users are the users who may start it, by number as the container sees it.
	Users []uint32 `json:"users,omitempty"`
	// Scripts are the files that an interpreter may be given, written as Path.
	// With it, code from elsewhere (-c, -e, standard input) is not meant.
	Scripts []string `json:"scripts,omitempty"`
	// Reason is for the reader: why this rule is here.
	Reason string `json:"reason,omitempty"`
}

// NetworkSpec says which connections may be made and accepted. A direction
// that is present is the whole truth for new connections of that direction.
type NetworkSpec struct {
	// Mode of this section; default: the policy's mode.
	Mode Mode `json:"mode,omitempty"`
	// Ingress lists who may connect to the workload; present but empty: nobody.
	Ingress []IngressRule `json:"ingress,omitzero"`
	// Egress lists where the workload may connect to; present but empty: nowhere.
	Egress []EgressRule `json:"egress,omitzero"`
	// Deny wins over both lists, and may stand without them.
	Deny *NetworkDenies `json:"deny,omitempty"`
}

// NetworkDenies are rules that win over every allow.
type NetworkDenies struct {
	// Ingress are connections that are never accepted.
	Ingress []IngressRule `json:"ingress,omitempty"`
	// Egress are connections that are never made.
	Egress []EgressRule `json:"egress,omitempty"`
}

// IngressRule allows (or denies) connections from peers to the workload's ports.
type IngressRule struct {
	// From are the peers; absent: anyone.
	From []Peer `json:"from,omitempty"`
	// Ports are the workload's own ports; absent: every protocol and port.
	Ports []Port `json:"ports,omitempty"`
	// Reason is for the reader: why this rule is here.
	Reason string `json:"reason,omitempty"`
}

// EgressRule allows (or denies) connections from the workload to peers' ports.
type EgressRule struct {
	// To are the peers; absent: anywhere.
	To []Peer `json:"to,omitempty"`
	// Ports are the peers' ports; absent: every protocol and port.
	Ports []Port `json:"ports,omitempty"`
	// Reason is for the reader: why this rule is here.
	Reason string `json:"reason,omitempty"`
}

// Peer is one other end; exactly one field is set.
type Peer struct {
	// Workload chooses workloads that run here, whatever their addresses.
	Workload *WorkloadPeer `json:"workload,omitempty"`
	// CIDR is an IPv4 or IPv6 prefix ("10.20.0.0/16") or address.
	CIDR string `json:"cidr,omitempty"`
	// Entity: Any, Internet (public addresses), Node, Metadata (169.254.169.254, fd00:ec2::254).
	Entity string `json:"entity,omitempty"`
}

// WorkloadPeer selects workloads by label. A namespaced policy's peer is in its
// own namespace unless Namespace says another.
type WorkloadPeer struct {
	// Namespace of the peer. Default: the policy's own; any for a cluster policy.
	Namespace string `json:"namespace,omitempty"`
	// Name is a glob pattern for the workload's name.
	Name string `json:"name,omitempty"`
	// MatchLabels are labels the peer's containers must have.
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// Port is "tcp/443", "udp/53", "tcp/8000-8010", "tcp", "udp", "icmp", "sctp".
// "icmp" stands for both ICMP and ICMPv6.
type Port string
