package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/workload"
)

// nri is our side of the Node Resource Interface (containerd from 1.7, CRI-O
// from 1.26): the runtime asks us before it lets the first program of a pod's
// container start, and waits for the answer.
//
// It tells of pods' containers only: runtimes do not ask about others.
type nri struct {
	socket string
	log    *slog.Logger
	// hold is called while the runtime waits. An error makes the start fail. It
	// gives back the container with what others know of it.
	hold func(context.Context, workload.Container) (workload.Container, error)

	mu      sync.Mutex
	runtime string // its name, once it has said so
	version string
	known   map[string]workload.Container // made and not removed; PID is 0 before the start
	running map[string]bool
}

const (
	// nriIndex orders plugins: after those that change containers, so that
	// what we look at is what will run.
	nriIndex = "90"
	// nriShare is the part of the runtime's own bound that we use: whoever
	// exceeds that bound is thrown out and asked no more.
	nriShare = 0.7
	// maxNRI bounds the containers remembered, in case removals are not told.
	maxNRI = 4096
)

func newNRI(socket string, log *slog.Logger) *nri {
	return &nri{
		socket: socket, log: log, known: map[string]workload.Container{}, running: map[string]bool{},
		hold: func(_ context.Context, c workload.Container) (workload.Container, error) { return c, nil },
	}
}

func (p *nri) Name() string  { return "nri" }
func (p *nri) Where() string { return p.socket }
func (p *nri) Close() error  { return nil }

const nriRemedy = "containerd from 1.7 and CRI-O from 1.26 have it: set disable = false in the runtime's section for NRI and restart it; without it the first program of a container is held by the kernel part instead"

// Probe only looks for the socket: whoever connects is registered.
func (p *nri) Probe(context.Context) guard.Feature {
	f := guard.Feature{Name: p.Name()}
	st, err := os.Stat(p.socket)
	switch {
	case err == nil && st.Mode()&fs.ModeSocket != 0:
		f.Works, f.Detail = true, "a runtime offers it at "+p.socket+": policy is in force before a pod's container starts"
	case err == nil:
		f.Detail, f.Remedy = fmt.Sprintf("%s is no socket", p.socket), nriRemedy
	case errors.Is(err, fs.ErrNotExist):
		f.Detail, f.Remedy = fmt.Sprintf("no runtime offers it at %s", p.socket), nriRemedy
	default:
		f.Detail, f.Remedy = err.Error(), nriRemedy
	}
	return f
}

// List gives what the runtime told of.
func (p *nri) List(context.Context) ([]workload.Container, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []workload.Container
	for id := range p.running {
		if c := p.known[id]; c.PID != 0 {
			list = append(list, c)
		}
	}
	return list, nil
}

// Inspect answers from what the runtime told: nobody is asked.
func (p *nri) Inspect(_ context.Context, id string) (workload.Container, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.known[id]
	if !ok {
		return c, fmt.Errorf("find container %s by NRI: %w", id, ErrNotFound)
	}
	c.Labels, c.Args = maps.Clone(c.Labels), slices.Clone(c.Args)
	return c, nil
}

// Watch registers and serves until the connection or ctx ends.
func (p *nri) Watch(ctx context.Context, subscribed func(), fn func(Change)) error {
	if _, err := os.Stat(p.socket); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("register by NRI at %s: %w", p.socket, ErrAbsent)
	}
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		return fmt.Errorf("register by NRI at %s: %w: %w", p.socket, ErrAbsent, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &nriSession{nri: p, ctx: ctx, subscribed: subscribed, news: make(chan Change, 4096)}
	st, err := stub.New(s, stub.WithConnection(conn), stub.WithPluginName("gabion"), stub.WithPluginIdx(nriIndex), stub.WithLogger(nriLog{p.log}))
	if err != nil {
		conn.Close()
		return fmt.Errorf("register by NRI at %s: %w", p.socket, err)
	}
	s.bound = func() time.Duration { return time.Duration(float64(st.RequestTimeout()) * nriShare) }
	var g sync.WaitGroup
	// News are taken up beside the runtime's requests, which are one at a time
	// for the whole machine and must not wait for what only has to be known.
	g.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case ch := <-s.news:
				fn(ch)
			}
		}
	})
	err = st.Run(ctx)
	cancel()
	conn.Close()
	g.Wait()
	if err == nil {
		err = errors.New("the runtime ended the connection")
	}
	return fmt.Errorf("serve NRI at %s: %w", p.socket, err)
}

// nriSession is one connection.
type nriSession struct {
	*nri
	ctx        context.Context
	subscribed func()
	bound      func() time.Duration
	news       chan Change
}

// Configure hears who the runtime is.
func (s *nriSession) Configure(_ context.Context, _, runtime, version string) (stub.EventMask, error) {
	s.mu.Lock()
	s.runtime, s.version = runtime, version
	s.mu.Unlock()
	return 0, nil
}

// Synchronize hears of everything there is.
func (s *nriSession) Synchronize(_ context.Context, pods []*api.PodSandbox, list []*api.Container) ([]*api.ContainerUpdate, error) {
	byID := map[string]*api.PodSandbox{}
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	s.mu.Lock()
	clear(s.known)
	clear(s.running)
	s.mu.Unlock()
	for _, c := range list {
		st := c.GetState()
		s.note(byID[c.GetPodSandboxId()], c, st == api.ContainerState_CONTAINER_RUNNING || st == api.ContainerState_CONTAINER_PAUSED)
	}
	s.subscribed()
	return nil, nil
}

// CreateContainer hears who a container is before anything of it exists.
func (s *nriSession) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	s.note(pod, c, false)
	return nil, nil, nil
}

// StartContainer is asked when the container's namespaces, root and cgroup
// stand and the runtime's own init waits in them; its next step is to execute
// the container's first program.
func (s *nriSession) StartContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	c := s.note(pod, ctr, false)
	bound, cancel := context.WithTimeout(ctx, s.bound())
	defer cancel()
	c, err := s.hold(bound, c)
	if c.PID == 0 {
		return err
	}
	s.keep(c, false)
	// Told although it may never run, so that its end is told too.
	s.tell(Change{Container: c})
	return err
}

// PostStartContainer hears that the first program runs.
func (s *nriSession) PostStartContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	s.mu.Lock()
	c := s.known[ctr.GetId()]
	s.mu.Unlock()
	if c.PID == 0 {
		c = s.note(pod, ctr, true)
	}
	s.keep(c, true)
	if c.PID != 0 {
		s.tell(Change{Container: c})
	}
	return nil
}

// StopContainer hears that a container is told to stop, or has stopped.
func (s *nriSession) StopContainer(_ context.Context, _ *api.PodSandbox, ctr *api.Container) ([]*api.ContainerUpdate, error) {
	s.tell(Change{Container: workload.Container{ID: ctr.GetId()}, Gone: true})
	return nil, nil
}

// RemoveContainer hears that nothing is left of a container.
func (s *nriSession) RemoveContainer(_ context.Context, _ *api.PodSandbox, ctr *api.Container) error {
	s.mu.Lock()
	delete(s.known, ctr.GetId())
	delete(s.running, ctr.GetId())
	s.mu.Unlock()
	s.tell(Change{Container: workload.Container{ID: ctr.GetId()}, Gone: true})
	return nil
}

func (s *nriSession) tell(ch Change) {
	select {
	case s.news <- ch:
	default:
		s.subscribed() // a listing has it, and the sweep sees ends
	}
}

// note remembers what the runtime says of a container.
func (s *nriSession) note(pod *api.PodSandbox, ctr *api.Container, runs bool) workload.Container {
	c := fromNRI(pod, ctr)
	s.mu.Lock()
	c.Runtime = s.runtime
	s.mu.Unlock()
	switch c.Runtime {
	case "cri-o":
		c.Runtime = "cri"
	case "containerd":
		c.RuntimeNamespace = "k8s.io" // where it keeps what came by CRI
	}
	if c.PID == 0 || startTicks(c.PID) == 0 {
		c.PID = initOf(ctr.GetLinux().GetCgroupsPath())
	}
	s.keep(c, runs)
	return c
}

func (s *nriSession) keep(c workload.Container, runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[c.ID]; !ok && len(s.known) >= maxNRI {
		return // the other plugins know it
	}
	s.known[c.ID] = c
	if runs {
		s.running[c.ID] = true
	}
}

// fromNRI reads what the runtime says of a container and its pod.
func fromNRI(pod *api.PodSandbox, ctr *api.Container) workload.Container {
	labels := withPodLabels(ctr.GetLabels(), pod.GetLabels())
	// Identity is the runtime's to say, not a label's.
	for k, v := range map[string]string{
		"io.kubernetes.pod.name": pod.GetName(), "io.kubernetes.pod.namespace": pod.GetNamespace(), "io.kubernetes.pod.uid": pod.GetUid(),
	} {
		if v != "" {
			labels[k] = v
		}
	}
	c := workload.Container{
		ID: ctr.GetId(), Name: ctr.GetName(), Labels: labels, Args: slices.Clone(ctr.GetArgs()), PID: int(ctr.GetPid()),
		Image: ctr.GetImage().GetName(), ImageDigest: ctr.GetImage().GetDigest(),
	}
	for _, key := range []string{"io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"} {
		if c.Image == "" {
			c.Image = ctr.GetAnnotations()[key]
		}
	}
	describe(&c)
	return c
}

// initOf gives the process that waits in a container's cgroup, named as the
// OCI specification does; 0 when there is none. Runtimes do not tell its
// number before the start.
func initOf(cgroupsPath string) int {
	rel := groupOf(cgroupsPath)
	root, err := cgroup.Root()
	if rel == "" || err != nil {
		return 0
	}
	pids, err := cgroup.PIDs(filepath.Join(root, rel))
	if err != nil || len(pids) == 0 {
		return 0
	}
	return firstProcess(pids[0], rel)
}

// nriLog turns the library's log into ours; what it says in passing is of no
// use to anybody.
type nriLog struct{ log *slog.Logger }

func (l nriLog) Debugf(context.Context, string, ...any) {}
func (l nriLog) Infof(context.Context, string, ...any)  {}
func (l nriLog) Warnf(_ context.Context, f string, args ...any) {
	l.log.Warn("NRI: " + fmt.Sprintf(f, args...))
}
func (l nriLog) Errorf(_ context.Context, f string, args ...any) {
	l.log.Error("NRI: " + fmt.Sprintf(f, args...))
}
