package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// Maps are the kernel maps that guard/kernel shares with the firewall: who a
// task is, how a container is set up, and where causes are counted.
type Maps struct {
	Settings, Tasks, Cgroups, Containers, Counts, Overflow, Denials, Observations *ebpf.Map

	execRules, execConds, callers, loaders, files, seen, details, accounts, held, names *ebpf.Map

	mu   sync.Mutex // serialises changes of containers and settings
	cids sync.Map   // container id -> uint32
}

// fields names the maps of bpf/gabion.h and bpf/process_maps.h that are pinned
// and outlive the agent.
func (m *Maps) fields() map[string]**ebpf.Map {
	return map[string]**ebpf.Map{
		processMapSettings: &m.Settings, processMapTasks: &m.Tasks, processMapCgroups: &m.Cgroups,
		processMapContainers: &m.Containers, processMapCounts: &m.Counts, processMapOverflow: &m.Overflow,
		processMapDenials: &m.Denials, processMapObservations: &m.Observations,
		processMapExecRules: &m.execRules, processMapFiles: &m.files, processMapSeen: &m.seen,
		processMapExecConds: &m.execConds, processMapCallers: &m.callers, processMapLoaders: &m.loaders,
		processMapDetails: &m.details, processMapAccounts: &m.accounts, processMapHeld: &m.held,
		processMapNames: &m.names,
	}
}

// CID is the number of a container that Apply was called for, and whether
// there is one.
func (m *Maps) CID(containerID string) (uint32, bool) {
	v, ok := m.cids.Load(containerID)
	if !ok {
		return 0, false
	}
	return v.(uint32), true
}

// Update changes a container's entry under a lock that both enforcing rooms
// share. A container without an entry starts from the zero value. The error is
// ErrUnknownContainer when no container has this number.
func (m *Maps) Update(cid uint32, change func(*Container)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var name nameValue
	if err := m.names.Lookup(cid, &name); err != nil {
		return fmt.Errorf("change container %d: %w", cid, ErrUnknownContainer)
	}
	var c Container
	if err := m.Containers.Lookup(cid, &c); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read container %d: %w", cid, err)
	}
	change(&c)
	if err := m.Containers.Put(cid, c); err != nil {
		return fmt.Errorf("write container %d: %w", cid, err)
	}
	return nil
}

func (m *Maps) settings() (settings, error) {
	var s settings
	if err := m.Settings.Lookup(uint32(0), &s); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

// set changes the settings; only the agent writes them.
func (m *Maps) set(change func(*settings)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.settings()
	if err != nil {
		return err
	}
	change(&s)
	if err := m.Settings.Put(uint32(0), s); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// number gives the container its number, a new one if it has none.
func (m *Maps) number(containerID string) (uint32, error) {
	if cid, ok := m.CID(containerID); ok {
		return cid, nil
	}
	var cid uint32
	if err := m.set(func(s *settings) { s.NextCID++; cid = s.NextCID }); err != nil {
		return 0, err
	}
	var name nameValue
	if len(containerID) >= len(name.ID) {
		return 0, fmt.Errorf("number container %q: identifier longer than %d bytes", containerID, len(name.ID)-1)
	}
	copy(name.ID[:], containerID)
	if err := m.names.Put(cid, name); err != nil {
		return 0, fmt.Errorf("number container %q: %w", containerID, err)
	}
	m.cids.Store(containerID, cid)
	return cid, nil
}

// known lists the containers that have a number.
func (m *Maps) known() []string {
	var out []string
	m.cids.Range(func(id, _ any) bool { out = append(out, id.(string)); return true })
	slices.Sort(out)
	return out
}

// readNames learns the numbers that an earlier agent gave.
func (m *Maps) readNames() error {
	var cid uint32
	var name nameValue
	it := m.names.Iterate()
	for it.Next(&cid, &name) {
		m.cids.Store(cString(name.ID[:]), cid)
	}
	return it.Err()
}

// eachAccount reads what became of the records of every container.
func (m *Maps) eachAccount(fn func(uint32, account)) error {
	var cid uint32
	var a account
	it := m.accounts.Iterate()
	for it.Next(&cid, &a) {
		fn(cid, a)
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read losses: %w", err)
	}
	return nil
}

func (m *Maps) close() error {
	var errs []error
	for _, f := range m.fields() {
		if *f != nil {
			errs = append(errs, (*f).Close())
		}
	}
	return errors.Join(errs...)
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// deleteWhere removes the entries of a hash map whose key matches. Entries
// that appear meanwhile may stay.
func deleteWhere[K any](m *ebpf.Map, match func(K) bool) error {
	var key K
	value := make([]byte, m.ValueSize())
	var gone []K
	it := m.Iterate()
	for it.Next(&key, &value) {
		if match(key) {
			gone = append(gone, key)
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for _, k := range gone {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}
