package kernel

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/guard"
)

// lose tells of what was lost since it was last told.
func (e *Engine) lose(cid uint32, told map[uint32]uint64, n uint64, set func(*guard.Loss, uint64)) {
	if n <= told[cid] {
		return
	}
	if id, ok := e.containerID(cid); ok {
		l := guard.Loss{ContainerID: id}
		set(&l, n-told[cid])
		e.sink.Lost(l)
	}
	told[cid] = n
}

// Accounting says of every container, and of both rings, how much the kernel
// programs put into it and how much found no room. Denials themselves are
// counted elsewhere and exactly; what a ring loses of them is only that they
// are told of a little later.
func (e *Engine) Accounting() ([]guard.Account, error) {
	var out []guard.Account
	err := e.l.maps.eachAccount(func(cid uint32, a account) {
		id, ok := e.containerID(cid)
		if !ok {
			return
		}
		for ring, name := range []string{ringDenials: guard.RingDenials, ringObservations: guard.RingObservations} {
			out = append(out, guard.Account{ContainerID: id, Ring: name, Seen: a.Told[ring] + a.Lost[ring], Lost: a.Lost[ring]})
		}
	})
	slices.SortFunc(out, func(a, b guard.Account) int {
		return cmp.Or(strings.Compare(a.ContainerID, b.ContainerID), strings.Compare(a.Ring, b.Ring))
	})
	return out, err
}

// signalWords are the words of guard.Observation.Signals, by bit.
func signalWords(bits uint64) (out []string) {
	for i, w := range [...]string{"stdin-socket", "stdout-socket", "tty", "setuid", "memfd", "deleted", "from-outside"} {
		if bits&(1<<i) != 0 {
			out = append(out, w)
		}
	}
	return out
}
