package firewall

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// Flags of a container's entry that the firewall owns, and those it reads.
const (
	flagEgressListed  = 1 << 2
	flagIngressListed = 1 << 3
	flagQuarantine    = 1 << 4
	flagObserve       = 1 << 5
	flagNoFloor       = 1 << 16
	flagNetSlot       = 1 << 17

	flagsNet = flagEgressListed | flagIngressListed | flagNoFloor | flagNetSlot
)

// managed is a container that Apply was called for.
type managed struct {
	cid  uint32
	c    workload.Container
	plan *policy.Plan
	// floor is nil when the container has none; noFloor says why.
	floor   *floorState
	noFloor string
}

// Apply installs the network section of a container's plan, or replaces it,
// between one packet and the next. A nil plan, or one without the section,
// observes only. A plan that cannot be installed changes nothing. Established
// connections are judged again by the new plan where the container has a floor.
//
// What the machine cannot do is said in the Coverage, not as an error.
func (f *Firewall) Apply(ctx context.Context, c workload.Container, plan *policy.Plan, n *facts.Neighbourhood) (guard.Coverage, error) {
	return f.apply(ctx, c, plan, neighbours(n))
}

func (f *Firewall) apply(ctx context.Context, c workload.Container, plan *policy.Plan, peers policy.Peers) (guard.Coverage, error) {
	cid, ok := f.deps.CID(c.ID)
	if !ok {
		return guard.Coverage{Section: "network", Mechanism: "none"}, fmt.Errorf("apply network section to container %s: %w", c.Short(), ErrUnknownContainer)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.managed[c.ID]
	if m == nil {
		m = &managed{cid: cid}
	}
	before := *m
	m.c, m.plan = c, plan
	// The floor stands, and knows who opened the present connections, before
	// the plan may cut any of them.
	m.floor, m.noFloor = f.ensureFloor(ctx, m)
	var old leftovers
	empty, err := f.put(m, peers, &old)
	if err == nil {
		err = f.settle(old)
	}
	if err != nil {
		m.plan = before.plan
		if m.floor != nil && f.managed[c.ID] == nil {
			err = errors.Join(err, f.leaveFloor(ctx, m.floor, cid))
		}
		return guard.Coverage{Section: "network", Mechanism: "none"}, fmt.Errorf("apply network section to container %s: %w", c.Short(), err)
	}
	f.managed[c.ID] = m
	f.remember(m)
	return f.coverage(m, empty), nil
}

// Refresh resolves named peers again and changes the containers that this
// makes a difference to. It tries all of them and joins what fails.
func (f *Firewall) Refresh(ctx context.Context, n *facts.Neighbourhood) error {
	return f.refresh(ctx, neighbours(n))
}

func (f *Firewall) refresh(ctx context.Context, peers policy.Peers) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var old leftovers
	var errs []error
	for id, m := range f.managed {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		if !byName(m.plan) {
			continue
		}
		if _, err := f.put(m, peers, &old); err != nil {
			errs = append(errs, fmt.Errorf("refresh peers of container %s: %w", id, err))
		}
	}
	return errors.Join(append(errs, f.settle(old))...)
}

// byName reports whether a plan has peers whose addresses come and go.
func byName(p *policy.Plan) bool {
	if p == nil || p.Network == nil {
		return false
	}
	has := func(r policy.PeerRule) bool { return len(r.Workloads) > 0 || r.NodeAddresses }
	return slices.ContainsFunc(p.Network.Egress, has) || slices.ContainsFunc(p.Network.Ingress, has)
}

// put compiles a container's plan and brings it into force. It gives the rules
// that match nothing at present, and adds to old what is to be settled.
func (f *Firewall) put(m *managed, peers policy.Peers, old *leftovers) ([]int, error) {
	var net *policy.NetworkPlan
	if m.plan != nil {
		net = m.plan.Network
	}
	t, empty, err := compile(net, peers)
	if err != nil {
		return nil, err
	}
	var e netContainer
	if err := f.maps.Containers.Lookup(m.cid, &e); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, ErrUnknownContainer
		}
		return nil, fmt.Errorf("read container %d: %w", m.cid, err)
	}
	want := Container{Flags: flagObserve}
	if net != nil {
		want.NetMode = modeNumber(net.Mode)
		want.EgressListRule, want.IngressListRule = uint16(net.EgressListRule), uint16(net.IngressListRule)
		if net.EgressListed {
			want.Flags |= flagEgressListed
		}
		if net.IngressListed {
			want.Flags |= flagIngressListed
		}
	}
	if m.floor == nil {
		want.Flags |= flagNoFloor
	}
	if err := f.needHooks(m, want.Flags); err != nil {
		return nil, err
	}
	const compared = flagsNet&^flagNetSlot | flagObserve
	same := e.Flags&compared == want.Flags && e.NetMode == want.NetMode &&
		e.EgressListRule == want.EgressListRule && e.IngressListRule == want.IngressListRule
	slot := uint8(0)
	if e.Flags&flagNetSlot != 0 {
		slot = 1
	}
	err = f.install(m.cid, t, slot, same, func(next uint8) error {
		return f.deps.Update(m.cid, func(c *Container) {
			c.Flags = c.Flags&^flagsNet | want.Flags
			if next == 1 {
				c.Flags |= flagNetSlot
			}
			c.NetMode = want.NetMode
			c.EgressListRule, c.IngressListRule = want.EgressListRule, want.IngressListRule
			c.Generation++
		})
	}, old)
	return empty, err
}

// needHooks attaches the hooks that only some plans need. The one on socket
// options would cost every process of the machine something, so it goes to the
// container's own cgroup where that is known.
func (f *Firewall) needHooks(m *managed, flags uint32) error {
	if flags&(flagEgressListed|flagQuarantine) == 0 {
		return nil
	}
	dir, own := ownCgroup(m.c)
	if own {
		if err := f.attachHookAt(fmt.Sprintf("setsockopt-%d", m.cid), dir); err != nil {
			f.log.Warn("hook goes to the root of all cgroups instead", "container", m.c.ID, "err", err)
			own = false
		}
	}
	if !own {
		if err := f.attachHook("setsockopt"); err != nil {
			return err
		}
	}
	if flags&flagNoFloor != 0 {
		return f.attachHook("sock_create")
	}
	return nil
}

// ownCgroup finds the directory of a container's cgroup, and says no when it
// is not surely the container's alone.
func ownCgroup(c workload.Container) (string, bool) {
	if path.Clean("/"+c.CgroupPath) == "/" || c.CgroupID == 0 {
		return "", false
	}
	root, err := cgroupRoot("/proc/mounts")
	if err != nil {
		return "", false
	}
	dir := filepath.Join(root, c.CgroupPath)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Ino != c.CgroupID {
		return "", false
	}
	return dir, true
}

func modeNumber(m v1alpha1.Mode) uint8 {
	switch m {
	case v1alpha1.Protect:
		return 3
	case v1alpha1.Monitor:
		return 2
	}
	return 1
}

func (f *Firewall) coverage(m *managed, empty []int) guard.Coverage {
	cov := guard.Coverage{Section: "network"}
	if m.plan == nil || m.plan.Network == nil {
		cov.Mechanism = "cgroup/connect"
		cov.Guarantee = "Connections are observed; no policy judges them."
		if m.floor != nil {
			cov.Mechanism += " + " + m.floor.mechanism
		}
		return cov
	}
	if m.floor != nil {
		cov.Mechanism = "cgroup/connect + " + m.floor.mechanism
		cov.Guarantee = "Forbidden connections and datagrams fail at once with EPERM; what other sockets, processes or peers send past that is dropped on the container's interfaces, established connections included."
		if m.floor.mechanism == mechClsact {
			cov.Degraded = "this kernel has no tcx (Linux 6.6): the packet floor is a clsact filter, which a process with CAP_NET_ADMIN inside the container can remove"
		}
	} else {
		cov.Mechanism = "cgroup/connect"
		cov.Guarantee = "Forbidden TCP connections and UDP datagrams fail at once with EPERM; sockets of other kinds are refused where egress is listed."
		cov.Degraded = m.noFloor + ": ingress is not judged, and connections that were open before the plan go on"
	}
	for _, r := range empty {
		if r > 0 && r < len(m.plan.Rules) {
			cov.Unmatched = append(cov.Unmatched, m.plan.Rules[r].Field)
		}
	}
	return cov
}

// Forget removes a container that has ended: its rules, its place on its
// floor, and its counts after a last report. Unknown containers are no error.
func (f *Firewall) Forget(containerID string) error {
	f.mu.Lock()
	m := f.managed[containerID]
	f.mu.Unlock()
	if m == nil {
		return nil
	}
	f.Flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.managed, containerID)
	var errs []error
	var e netContainer
	if err := f.maps.Containers.Lookup(m.cid, &e); err == nil { // else guard/kernel forgot it first
		errs = append(errs, f.deps.Update(m.cid, func(c *Container) {
			c.Flags &^= flagsNet
			c.NetMode = 0
			c.Generation++
		}))
	}
	if m.floor != nil {
		errs = append(errs, f.leaveFloor(context.Background(), m.floor, m.cid))
	}
	errs = append(errs, f.detachHook(fmt.Sprintf("setsockopt-%d", m.cid)))
	state := f.tables[m.cid]
	errs = append(errs, f.drop(&state, 0), f.drop(&state, 1))
	delete(f.tables, m.cid)
	errs = append(errs, f.forgetCounts(m.cid))
	return errors.Join(errs...)
}
