package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"

	taskevents "github.com/containerd/containerd/api/events"
	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types/task"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
)

// containerd speaks containerd's own API in all its namespaces. That includes
// Kubernetes containers (namespace k8s.io), about which it says more than CRI
// does, and Docker's (moby), about which it says less than Docker.
type containerd struct {
	socket string

	mu   sync.Mutex
	conn *grpc.ClientConn
}

func newContainerd(socket string) *containerd { return &containerd{socket: socket} }

func (p *containerd) Name() string  { return "containerd" }
func (p *containerd) Where() string { return p.socket }

func (p *containerd) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	err := p.conn.Close()
	p.conn = nil
	return err
}

func (p *containerd) dial() (*grpc.ClientConn, error) {
	if _, err := os.Stat(p.socket); err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", p.socket, ErrAbsent)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		conn, err := dial(p.socket)
		if err != nil {
			return nil, err
		}
		p.conn = conn
	}
	return p.conn, nil
}

func in(ctx context.Context, namespace string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
}

func (p *containerd) Probe(ctx context.Context) guard.Feature {
	f := guard.Feature{Name: p.Name()}
	conn, err := p.dial()
	if err == nil {
		var v *versionapi.VersionResponse
		v, err = versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
		if err = grpcErr("ask containerd for its version", p.socket, err); err == nil {
			f.Works, f.Detail = true, fmt.Sprintf("version %s at %s", v.GetVersion(), p.socket)
			return f
		}
	}
	f.Detail = err.Error()
	return f
}

func (p *containerd) namespaces(ctx context.Context, conn *grpc.ClientConn) ([]string, error) {
	resp, err := namespacesapi.NewNamespacesClient(conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, grpcErr("list containerd namespaces", p.socket, err)
	}
	var names []string
	for _, ns := range resp.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	return names, nil
}

func (p *containerd) List(ctx context.Context) ([]workload.Container, error) {
	conn, err := p.dial()
	if err != nil {
		return nil, err
	}
	names, err := p.namespaces(ctx, conn)
	if err != nil {
		return nil, err
	}
	var list []workload.Container
	for _, ns := range names {
		ctx := in(ctx, ns)
		tasks, err := tasksapi.NewTasksClient(conn).List(ctx, &tasksapi.ListTasksRequest{})
		if err != nil {
			return nil, grpcErr("list containerd tasks", p.socket, err)
		}
		pids := map[string]int{}
		for _, t := range tasks.GetTasks() {
			if runs(t) {
				// The container's id is only in the second field here.
				pids[t.GetID()] = int(t.GetPid())
			}
		}
		if len(pids) == 0 {
			continue
		}
		all, err := containersapi.NewContainersClient(conn).List(ctx, &containersapi.ListContainersRequest{})
		if err != nil {
			return nil, grpcErr("list containerd containers", p.socket, err)
		}
		for _, c := range all.GetContainers() {
			if pids[c.GetID()] == 0 {
				continue
			}
			out, err := p.container(ctx, conn, ns, c)
			if errors.Is(err, ErrSandbox) {
				continue
			}
			if err != nil {
				return nil, err
			}
			out.PID = pids[c.GetID()]
			list = append(list, out)
		}
	}
	return list, nil
}

func runs(t *task.Process) bool {
	return t.GetStatus() == task.Status_RUNNING || t.GetStatus() == task.Status_PAUSED || t.GetStatus() == task.Status_PAUSING
}

func (p *containerd) Inspect(ctx context.Context, id string) (workload.Container, error) {
	conn, err := p.dial()
	if err != nil {
		return workload.Container{}, err
	}
	names, err := p.namespaces(ctx, conn)
	if err != nil {
		return workload.Container{}, err
	}
	for _, ns := range names {
		c, err := p.inspectIn(ctx, ns, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		return c, err
	}
	return workload.Container{}, fmt.Errorf("find container %s in containerd: %w", id, ErrNotFound)
}

// inspectIn looks up a container in one namespace. A container is recorded
// there before anything of it runs.
func (p *containerd) inspectIn(ctx context.Context, ns, id string) (workload.Container, error) {
	conn, err := p.dial()
	if err != nil {
		return workload.Container{}, err
	}
	ctx = in(ctx, ns)
	resp, err := containersapi.NewContainersClient(conn).Get(ctx, &containersapi.GetContainerRequest{ID: id})
	if err != nil {
		return workload.Container{}, grpcErr("find container "+id+" in containerd", p.socket, err)
	}
	return p.container(ctx, conn, ns, resp.GetContainer())
}

// container reads a record. ctx is in the container's namespace.
func (p *containerd) container(ctx context.Context, conn *grpc.ClientConn, ns string, rec *containersapi.Container) (workload.Container, error) {
	if rec.GetLabels()["io.cri-containerd.kind"] == "sandbox" {
		return workload.Container{}, fmt.Errorf("container %s: %w", rec.GetID(), ErrSandbox)
	}
	c := workload.Container{
		ID: rec.GetID(), Runtime: "containerd", RuntimeNamespace: ns, Image: rec.GetImage(),
		Labels: maps.Clone(rec.GetLabels()),
	}
	var spec specs.Spec
	if v := rec.GetSpec().GetValue(); len(v) > 0 {
		if err := json.Unmarshal(v, &spec); err != nil {
			return c, fmt.Errorf("read specification of container %s: %w", c.ID, err)
		}
	}
	if spec.Process != nil {
		c.Args = spec.Process.Args
	}
	sandbox := rec.GetSandbox()
	if sandbox == "" {
		sandbox = spec.Annotations["io.kubernetes.cri.sandbox-id"]
	}
	if sandbox != "" {
		// The labels of the pod, which policies select by, are the sandbox's.
		resp, err := containersapi.NewContainersClient(conn).Get(ctx, &containersapi.GetContainerRequest{ID: sandbox})
		if err == nil {
			c.Labels = withPodLabels(c.Labels, resp.GetContainer().GetLabels())
		}
	}
	if c.Image != "" {
		resp, err := imagesapi.NewImagesClient(conn).Get(ctx, &imagesapi.GetImageRequest{Name: c.Image})
		if err == nil { // an image may be removed while its container runs
			c.ImageDigest = resp.GetImage().GetTarget().GetDigest()
		} else if _, digest, ok := strings.Cut(c.Image, "@"); ok {
			c.ImageDigest = digest
		}
	}
	if name := c.Labels["nerdctl/name"]; name != "" {
		c.Name = name
	}
	describe(&c)
	return c, nil
}

// withPodLabels adds a pod's labels to its container's, which win.
func withPodLabels(own, pod map[string]string) map[string]string {
	all := map[string]string{}
	for k, v := range pod {
		if k != "io.cri-containerd.kind" {
			all[k] = v
		}
	}
	maps.Copy(all, own)
	return all
}

func (p *containerd) Watch(ctx context.Context, subscribed func(), fn func(Change)) error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	stream, err := eventsapi.NewEventsClient(conn).Subscribe(ctx, &eventsapi.SubscribeRequest{
		Filters: []string{`topic=="/tasks/start"`, `topic=="/tasks/exit"`},
	})
	if err != nil {
		return grpcErr("watch containerd", p.socket, err)
	}
	// The server says nothing when it has subscribed us, so ask it something
	// after: requests of one connection are taken up in order, and what
	// started a moment ago is in the list then made.
	if _, err := p.namespaces(ctx, conn); err != nil {
		return err
	}
	subscribed()
	for {
		env, err := stream.Recv()
		if err != nil {
			return grpcErr("watch containerd", p.socket, err)
		}
		switch env.GetTopic() {
		case "/tasks/start":
			var ev taskevents.TaskStart
			if err := proto.Unmarshal(env.GetEvent().GetValue(), &ev); err != nil {
				return fmt.Errorf("read event of containerd: %w", err)
			}
			bound, cancel := context.WithTimeout(ctx, answerBound)
			c, err := p.inspectIn(bound, env.GetNamespace(), ev.GetContainerID())
			cancel()
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrSandbox) {
				continue
			}
			if err != nil {
				return err
			}
			c.PID = int(ev.GetPid())
			fn(Change{Container: c})
		case "/tasks/exit":
			var ev taskevents.TaskExit
			if err := proto.Unmarshal(env.GetEvent().GetValue(), &ev); err != nil {
				return fmt.Errorf("read event of containerd: %w", err)
			}
			if ev.GetID() == ev.GetContainerID() { // not of an exec
				fn(Change{Container: workload.Container{ID: ev.GetContainerID()}, Gone: true})
			}
		}
	}
}
