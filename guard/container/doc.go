// Package container finds the containers of this machine and says what each
// one is: its workload, image, first process, cgroup and addresses.
//
// It decides nothing about them and changes nothing but, on request, whether
// they run (Pause, Kill). It does not pull or read images.
//
// The one idea: every container runtime is a Plugin that lists, watches and
// looks up; what plugins claim is kept per container id, and the claim of the
// plugin that knows most is reported (a Docker container is also known to
// containerd). Facts the kernel knows better than any runtime (cgroup id,
// addresses, start time) are always read from the kernel. The same plugins
// serve the fast path, Identify, which is asked about a process that the
// kernel stopped before its first instruction, when its runtime may not yet
// list it as running. Better still is a runtime that asks before it starts
// anything (OnStart).
package container

import (
	"context"
	"errors"
	"log/slog"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
)

// Errors of plugins, for errors.Is.
var (
	// ErrNotFound: the runtime answered and does not know the container.
	ErrNotFound = errors.New("no such container")
	// ErrAbsent: the runtime is not there: no socket, or nobody listens.
	ErrAbsent = errors.New("not running here")
	// ErrSandbox: the runtime knows it as the infrastructure of a pod (the
	// pause process), which runs nothing of the user's and is no container
	// that policies speak of.
	ErrSandbox = errors.New("sandbox of a pod")
)

// Change is news of one container: it runs, or something about it changed, or
// it has ended (Gone).
type Change struct {
	Container workload.Container
	Gone      bool
}

// Plugin is one container runtime on one socket. Implementations connect when
// they are used and connect again after a failure. Containers are returned
// with what the runtime tells; facts of the kernel are filled in by Discovery.
type Plugin interface {
	// Name is the runtime, as in workload.Container.Runtime.
	Name() string
	// Where is the socket or directory, for people.
	Where() string
	// Probe asks the runtime for its version.
	Probe(ctx context.Context) guard.Feature
	// List gives the running containers.
	List(ctx context.Context) ([]workload.Container, error)
	// Watch calls subscribed once news will not be missed any more, then fn
	// for each container that starts or ends (only its ID is set when Gone).
	// It returns when the connection or ctx ends.
	Watch(ctx context.Context, subscribed func(), fn func(Change)) error
	// Inspect gives a container in any state, also created but not started,
	// or an error that is ErrNotFound, ErrSandbox or ErrAbsent. It must be
	// quick: a process waits.
	Inspect(ctx context.Context, id string) (workload.Container, error)
	// Close ends connections.
	Close() error
}

// plugins is the list that names them all, the one that knows most first.
func (cfg Config) plugins(log *slog.Logger) []Plugin {
	var list []Plugin
	for _, s := range cfg.Docker {
		list = append(list, newDocker("docker", s))
	}
	for _, s := range cfg.Podman {
		list = append(list, newDocker("podman", s))
	}
	for _, s := range cfg.Containerd {
		list = append(list, newContainerd(s))
	}
	for _, s := range cfg.CRI {
		list = append(list, newCRI(s))
	}
	for _, s := range cfg.NRI {
		list = append(list, newNRI(s, log))
	}
	for _, dir := range cfg.StateDirs {
		list = append(list, newNamespaces(dir))
	}
	return list
}
