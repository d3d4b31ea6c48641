package firewall

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// tableState is what the kernel holds of one container's rules: the entries
// of both slots. One slot is in force, the other is empty or left over.
type tableState [2]map[netRuleKey]uint64

// install puts a container's compiled table into the slot that is not in force
// and lets flip bring it into force, so that no packet ever meets half a
// table. Nothing changes when the table is in force already and flip has
// nothing else to say (same). What was in force before is added to old: the
// caller settles it.
func (f *Firewall) install(cid uint32, t table, slot uint8, same bool, flip func(newSlot uint8) error, old *leftovers) error {
	state := f.tables[cid]
	now, _ := t.encode(cid, slot)
	if same && maps.Equal(now, state[slot]) {
		return nil
	}
	next := 1 - slot
	if err := f.drop(&state, next); err != nil {
		return err
	}
	rules, lists := t.encode(cid, next)
	state[next] = map[netRuleKey]uint64{}
	fail := func(err error) error {
		err = errors.Join(err, f.drop(&state, next))
		f.tables[cid] = state
		return err
	}
	for k, id := range rules {
		if f.lists[id] == 0 {
			if err := f.own.Lists.Update(id, lists[id], ebpf.UpdateAny); err != nil {
				return fail(fmt.Errorf("write rules of container %d: %w", cid, err))
			}
		}
		f.lists[id]++
		state[next][k] = id
		if err := f.own.Rules.Update(&k, id, ebpf.UpdateAny); err != nil {
			return fail(fmt.Errorf("write rules of container %d: %w", cid, err))
		}
	}
	if err := flip(next); err != nil {
		return fail(err)
	}
	f.tables[cid] = state
	if len(state[slot]) > 0 {
		*old = append(*old, leftover{cid, slot})
	}
	return nil
}

// leftovers are slots that were in force until a moment ago.
type leftovers []leftover

type leftover struct {
	cid  uint32
	slot uint8
}

// settle removes rules that are no longer in force, after every program that
// may still be reading them has ended.
func (f *Firewall) settle(old leftovers) error {
	if len(old) == 0 {
		return nil
	}
	waitForPrograms()
	var errs []error
	for _, l := range old {
		state := f.tables[l.cid]
		errs = append(errs, f.drop(&state, l.slot))
		f.tables[l.cid] = state
	}
	return errors.Join(errs...)
}

// drop removes the rules of one slot, and lists that nothing points to any more.
func (f *Firewall) drop(state *tableState, slot uint8) error {
	var errs []error
	for k, id := range state[slot] {
		if err := f.own.Rules.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("remove rule: %w", err))
		}
		if f.lists[id]--; f.lists[id] <= 0 {
			delete(f.lists, id)
			if err := f.own.Lists.Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				errs = append(errs, fmt.Errorf("remove rules: %w", err))
			}
		}
	}
	state[slot] = nil
	return errors.Join(errs...)
}

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h

// waitForPrograms returns when every program that is running now has ended:
// they run under RCU, and this call waits for a grace period.
func waitForPrograms() {
	// Refused only on machines with isolated CPUs; the old rules then go a
	// moment early, which a connection in that very moment meets as not listed.
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

// adoptTables reads what an earlier agent installed.
func (f *Firewall) adoptTables() error {
	var k netRuleKey
	var id uint64
	it := f.own.Rules.Iterate()
	for it.Next(&k, &id) {
		state := f.tables[k.Cid]
		slot := k.Slot & 1
		if state[slot] == nil {
			state[slot] = map[netRuleKey]uint64{}
		}
		state[slot][k] = id
		f.tables[k.Cid] = state
		f.lists[id]++
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read pinned rules: %w", err)
	}
	var l netList
	var stale []uint64
	lists := f.own.Lists.Iterate()
	for lists.Next(&id, &l) {
		if f.lists[id] == 0 {
			stale = append(stale, id)
		}
	}
	if err := lists.Err(); err != nil {
		return fmt.Errorf("read pinned rules: %w", err)
	}
	for _, id := range stale {
		_ = f.own.Lists.Delete(id)
	}
	return nil
}
