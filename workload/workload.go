// Package workload is the identity of what Gabion protects: a workload that
// policies persist for, and the containers of it that come and go.
//
// It holds plain values only. Finding containers is the duty of
// guard/container; deciding about them is the duty of policy. The one idea:
// everything that happens is tied to a Container, every Container belongs to
// exactly one Ref, and policies select by what is written here.
package workload

import (
	"net/netip"
	"time"
)

// Ref names a workload: the thing that policies persist for.
type Ref struct {
	// Namespace is the Kubernetes namespace, the Compose project, the value of
	// the label gabion.dev/namespace, or "default".
	Namespace string `json:"namespace"`
	// Name is the Kubernetes owner's name, the Compose service, the value of
	// the label gabion.dev/workload, or the container's name.
	Name string `json:"name"`
	// Kind is the owner's kind (Deployment, DaemonSet, ...) or "Container".
	Kind string `json:"kind,omitempty"`
}

// String gives "namespace/name", the form used in tables and file names.
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Container is one running (or just started) container.
type Container struct {
	// ID is the runtime's own full identifier, unique on a node.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Runtime is "containerd", "docker", "podman", "cri" or "namespaces" (a
	// process tree found in namespaces and a cgroup of its own).
	Runtime string `json:"runtime"`
	// RuntimeNamespace is containerd's namespace ("k8s.io", "moby", ...).
	RuntimeNamespace string `json:"runtimeNamespace,omitempty"`
	Node             string `json:"node,omitempty"`
	Workload         Ref    `json:"workload"`
	Pod              string `json:"pod,omitempty"`
	PodUID           string `json:"podUID,omitempty"`
	ServiceAccount   string `json:"serviceAccount,omitempty"`
	// Image is the reference the container was created from; ImageDigest its
	// digest ("sha256:...") where the runtime tells.
	Image       string            `json:"image,omitempty"`
	ImageDigest string            `json:"imageDigest,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	// PID is the container's first process as seen by the host; CgroupID is
	// the cgroup-v2 id (inode number) of that process's cgroup and CgroupPath
	// its path below the hierarchy's root.
	PID        int    `json:"pid"`
	CgroupID   uint64 `json:"cgroupID,omitempty"`
	CgroupPath string `json:"cgroupPath,omitempty"`
	// StartedAt is when the first process started.
	StartedAt time.Time `json:"startedAt"`
	// Args is the command line the container was started with.
	Args []string `json:"args,omitempty"`
	// Addresses are the container's own addresses, loopback left out.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// HostNetwork is true when it shares the node's network namespace.
	HostNetwork bool `json:"hostNetwork,omitempty"`
}

// Short is the first twelve characters of the identifier, as runtimes print it.
func (c *Container) Short() string {
	if len(c.ID) > 12 {
		return c.ID[:12]
	}
	return c.ID
}
