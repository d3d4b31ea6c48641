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
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
)

// cri speaks the Container Runtime Interface of Kubernetes, for runtimes that
// have no other API (CRI-O) or are not known here.
type cri struct {
	socket string
	poll   time.Duration

	mu   sync.Mutex
	conn *grpc.ClientConn
}

func newCRI(socket string) *cri { return &cri{socket: socket, poll: time.Second} }

func (p *cri) Name() string  { return "cri" }
func (p *cri) Where() string { return p.socket }

func (p *cri) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	err := p.conn.Close()
	p.conn = nil
	return err
}

func (p *cri) client() (runtimeapi.RuntimeServiceClient, error) {
	if _, err := os.Stat(p.socket); err != nil {
		return nil, fmt.Errorf("connect to CRI at %s: %w", p.socket, ErrAbsent)
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
	return runtimeapi.NewRuntimeServiceClient(p.conn), nil
}

func (p *cri) Probe(ctx context.Context) guard.Feature {
	f := guard.Feature{Name: p.Name()}
	client, err := p.client()
	if err == nil {
		var v *runtimeapi.VersionResponse
		v, err = client.Version(ctx, &runtimeapi.VersionRequest{})
		if err = grpcErr("ask CRI for its version", p.socket, err); err == nil {
			f.Works, f.Detail = true, fmt.Sprintf("%s %s at %s", v.GetRuntimeName(), v.GetRuntimeVersion(), p.socket)
			return f
		}
	}
	f.Detail = err.Error()
	return f
}

func (p *cri) List(ctx context.Context) ([]workload.Container, error) {
	return p.list(ctx, &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}, nil)
}

// list gives the containers that match, with their processes but for those in
// known, whose containers are left out.
func (p *cri) list(ctx context.Context, filter *runtimeapi.ContainerFilter, known map[string]bool) ([]workload.Container, error) {
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	resp, err := client.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: filter})
	if err != nil {
		return nil, grpcErr("list CRI containers", p.socket, err)
	}
	var list []workload.Container
	for _, rec := range resp.GetContainers() {
		if known[rec.GetId()] {
			continue
		}
		c := p.container(ctx, client, rec)
		st, err := client.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: rec.GetId(), Verbose: true})
		if err = grpcErr("ask CRI for container "+rec.GetId(), p.socket, err); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		c.PID, c.Args = criInfo(st.GetInfo()["info"])
		if _, digest, ok := strings.Cut(st.GetStatus().GetImageRef(), "@"); ok {
			c.ImageDigest = digest
		}
		if c.PID != 0 {
			list = append(list, c)
		}
	}
	return list, nil
}

// criInfo reads the free-form part of a status, which containerd and CRI-O
// fill alike.
func criInfo(text string) (pid int, args []string) {
	var info struct {
		PID         int `json:"pid"`
		RuntimeSpec struct {
			Process struct {
				Args []string `json:"args"`
			} `json:"process"`
		} `json:"runtimeSpec"`
	}
	if json.Unmarshal([]byte(text), &info) != nil {
		return 0, nil
	}
	return info.PID, info.RuntimeSpec.Process.Args
}

func (p *cri) container(ctx context.Context, client runtimeapi.RuntimeServiceClient, rec *runtimeapi.Container) workload.Container {
	c := workload.Container{
		ID: rec.GetId(), Name: rec.GetMetadata().GetName(), Runtime: "cri", Labels: maps.Clone(rec.GetLabels()),
		Image: rec.GetImage().GetUserSpecifiedImage(),
	}
	if c.Image == "" {
		c.Image = rec.GetImage().GetImage()
	}
	if _, digest, ok := strings.Cut(rec.GetImageRef(), "@"); ok {
		c.ImageDigest = digest
	} else if strings.HasPrefix(rec.GetImageRef(), "sha256:") {
		c.ImageDigest = rec.GetImageRef()
	}
	pods, err := client.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{Id: rec.GetPodSandboxId()}})
	if err == nil && len(pods.GetItems()) == 1 {
		c.Labels = withPodLabels(c.Labels, pods.GetItems()[0].GetLabels())
	}
	describe(&c)
	return c
}

func (p *cri) Inspect(ctx context.Context, id string) (workload.Container, error) {
	client, err := p.client()
	if err != nil {
		return workload.Container{}, err
	}
	resp, err := client.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: id}})
	if err != nil {
		return workload.Container{}, grpcErr("find container "+id+" by CRI", p.socket, err)
	}
	for _, rec := range resp.GetContainers() {
		if rec.GetId() == id {
			return p.container(ctx, client, rec), nil
		}
	}
	pods, err := client.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{Id: id}})
	if err != nil {
		return workload.Container{}, grpcErr("find container "+id+" by CRI", p.socket, err)
	}
	for _, pod := range pods.GetItems() {
		if pod.GetId() == id {
			return workload.Container{}, fmt.Errorf("container %s: %w", id, ErrSandbox)
		}
	}
	return workload.Container{}, fmt.Errorf("find container %s by CRI: %w", id, ErrNotFound)
}

// Watch compares listings: the interface's own events are an option that most
// installations leave off.
func (p *cri) Watch(ctx context.Context, subscribed func(), fn func(Change)) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	if _, err := client.Version(ctx, &runtimeapi.VersionRequest{}); err != nil {
		return grpcErr("watch CRI", p.socket, err)
	}
	subscribed()
	filter := &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}
	known := map[string]bool{}
	tick := time.NewTicker(p.poll)
	defer tick.Stop()
	for {
		resp, err := client.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: filter})
		if err != nil {
			return grpcErr("watch CRI", p.socket, err)
		}
		now := map[string]bool{}
		for _, rec := range resp.GetContainers() {
			now[rec.GetId()] = true
		}
		fresh, err := p.list(ctx, filter, known)
		if err != nil {
			return err
		}
		for id := range known {
			if !now[id] {
				delete(known, id)
				fn(Change{Container: workload.Container{ID: id}, Gone: true})
			}
		}
		for _, c := range fresh {
			known[c.ID] = true
			fn(Change{Container: c})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
