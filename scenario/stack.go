package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/scenario/lab"
	"github.com/gabion-dev/gabion/scenario/program"
	"github.com/gabion-dev/gabion/workload"
)

// service is one workload of the story.
type service struct {
	name   string
	number byte   // last byte of its first address
	port   uint16 // TCP
	// lines is set for the database, which speaks lines and not HTTP.
	lines  bool
	config program.Config
}

func services() []service {
	return []service{
		{name: "orders-db", number: 12, port: 5432, lines: true, config: program.Config{Listen: ":5432"}},
		{name: "payments", number: 13, port: 8080, config: program.Config{Listen: ":8080"}},
		{name: "api", number: 15, port: 6443, config: program.Config{Listen: ":6443"}},
		{name: "shop", number: 11, port: 8080, config: program.Config{
			Listen: ":8080", Title: "Basket shop", Payments: "http://payments:8080/rpc", Orders: "orders-db:5432",
		}},
		{name: "dashboard", number: 14, port: 8080, config: program.Config{
			Listen: ":8080", Title: "Cluster dashboard", API: "http://api:6443",
			TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token",
		}},
	}
}

// firstReplica is the last address byte of the first container that replaces
// another one; the services themselves are below it.
const firstReplica = 31

// instance is one running container of a service.
type instance struct {
	service
	id        string
	container *minicontainer.Container
	place     *lab.Place
	output    *tail
}

// address is where the instance serves, by IPv4 or IPv6.
func (i *instance) address(v6 bool) string {
	a := i.place.Addresses[0]
	if v6 {
		a = i.place.Addresses[1]
	}
	return netip.AddrPortFrom(a, i.port).String()
}

// stack is the containers of one phase.
type stack struct {
	namespace string
	images    *images
	net       *lab.Net
	dir       string // of the containers' own data
	stateDir  string
	platform  Platform

	mu      sync.Mutex
	replica byte
	made    int
	running map[string]*instance
	all     []*instance // also replaced ones, until they are stopped
}

func newStack(namespace string, im *images, n *lab.Net, dir, stateDir string, p Platform) *stack {
	return &stack{namespace: namespace, images: im, net: n, dir: dir, stateDir: stateDir, platform: p,
		replica: firstReplica, running: map[string]*instance{}}
}

func (s *stack) ref(name string) workload.Ref {
	return workload.Ref{Namespace: s.namespace, Name: name, Kind: "Container"}
}

// get gives the instance of a service that is in use now.
func (s *stack) get(name string) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[name]
}

// start starts every service and returns when all are covered in the mode and serve.
func (s *stack) start(ctx context.Context, mode string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, svc := range services() {
		g.Go(func() error {
			i, err := s.launch(ctx, svc, svc.number, mode)
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.running[svc.name] = i
			s.mu.Unlock()
			return nil
		})
	}
	return g.Wait()
}

// replace starts a new replica under a new address, and stops the old one when
// check has found the new one good.
func (s *stack) replace(ctx context.Context, name, mode string, check func(context.Context, *instance) error) error {
	old := s.get(name)
	s.mu.Lock()
	number := s.replica
	s.replica++
	s.mu.Unlock()
	i, err := s.launch(ctx, old.service, number, mode)
	if err != nil {
		return err
	}
	if err := check(ctx, i); err != nil {
		return errors.Join(fmt.Errorf("new replica of %s: %w", name, err), s.stop(ctx, i))
	}
	s.mu.Lock()
	s.running[name] = i
	s.mu.Unlock()
	return s.stop(ctx, old)
}

func (s *stack) launch(ctx context.Context, svc service, number byte, mode string) (*instance, error) {
	s.mu.Lock()
	s.made++
	serial := s.made
	s.mu.Unlock()
	place, err := s.net.Attach(svc.name, netip.AddrFrom4([4]byte{10, 88, 0, number}), workload6(number))
	if err != nil {
		return nil, err
	}
	i := &instance{service: svc, place: place, output: &tail{}}
	name := fmt.Sprintf("%s-%d", svc.name, serial)
	i.container, err = minicontainer.Start(ctx, minicontainer.Spec{
		Name:     name,
		Hostname: name,
		Image:    "gabion.dev/re-enactment/" + svc.name + ":1",
		Labels: map[string]string{
			"gabion.dev/namespace": s.namespace, "gabion.dev/workload": svc.name, "app": svc.name,
		},
		Lower:    s.images.lower(svc.name),
		Dir:      filepath.Join(s.dir, s.namespace+"-"+name),
		Args:     []string{"/usr/local/bin/" + svc.name},
		Env:      []string{"PATH=/usr/local/bin:/usr/bin:/bin", program.Switch + "=1", "GOMAXPROCS=2"},
		Netns:    place.Path(),
		Stdout:   i.output,
		Stderr:   i.output,
		StateDir: s.stateDir,
	})
	if err != nil {
		return nil, errors.Join(err, s.net.Detach(place))
	}
	i.id = i.container.ID()
	s.mu.Lock()
	s.all = append(s.all, i)
	s.mu.Unlock()

	covered, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := s.platform.AwaitCovered(covered, i.id, mode); err != nil {
		return nil, fmt.Errorf("container %s is not covered in mode %s: %w", name, mode, err)
	}
	if err := i.ready(covered); err != nil {
		return nil, fmt.Errorf("container %s does not serve: %w; it printed: %s", name, err, i.output)
	}
	return i, nil
}

// ready asks the service by loopback in its own namespace, so that getting
// ready is no behaviour that anybody could learn.
func (i *instance) ready(ctx context.Context) error {
	self := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), i.port).String()
	for {
		err := probe(ctx, from{place: i.place}, &i.service, self)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-i.container.Done():
			return fmt.Errorf("it has ended: %s", i.container.Wait())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *stack) stop(ctx context.Context, i *instance) error {
	err := errors.Join(i.container.Stop(ctx), s.net.Detach(i.place))
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, x := range s.all {
		if x == i {
			s.all = append(s.all[:n], s.all[n+1:]...)
			break
		}
	}
	return err
}

// close stops everything that still runs.
func (s *stack) close(ctx context.Context) error {
	s.mu.Lock()
	left := append([]*instance(nil), s.all...)
	s.running = map[string]*instance{}
	s.mu.Unlock()
	errs := make([]error, len(left))
	var group sync.WaitGroup
	for n, i := range left {
		group.Go(func() { errs[n] = s.stop(ctx, i) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// workload6 is the IPv6 address beside 10.88.0.number: fd88:88::number, the
// digits read as hexadecimal.
func workload6(number byte) netip.Addr {
	return netip.MustParseAddr("fd88:88::" + strconv.Itoa(int(number)))
}

// tail keeps the last few kilobytes that were written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
