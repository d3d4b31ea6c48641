package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// alive reports whether the agent that wrote s still runs.
func (s settings) alive() bool {
	if s.AgentTGID == 0 || int(s.AgentTGID) == os.Getpid() || unix.Kill(int(s.AgentTGID), 0) != nil {
		return false
	}
	return monotonic()-s.Heartbeat < 2e9
}

// silence is how long nobody has given a sign of life, when the agent that
// wrote s ended without saying so; 0 otherwise.
func (s settings) silence() time.Duration {
	if s.AgentTGID == 0 || s.Heartbeat == 0 || s.alive() {
		return 0
	}
	return time.Duration(monotonic() - s.Heartbeat) //nolint:gosec // of one clock
}

// State is what is pinned on this machine.
type State struct {
	Present    bool
	Enforcing  bool // links are attached and the kill switch is not set
	AgentPID   int  // of the agent that last wrote; may be gone
	AgentAlive bool
	// Silent is how long ago an agent that ended without saying so gave its last
	// sign of life; 0 when there is none. What is pinned goes on all the same.
	Silent     time.Duration
	Off        bool
	Layout     uint32
	Containers int
}

// Installed reads what is pinned under pinDir. Nothing pinned is no error.
func Installed(pinDir string) (State, error) {
	var st State
	s, err := readSettings(pinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	st.Present = true
	if err != nil {
		return st, err
	}
	links, err := os.ReadDir(linkDir(pinDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return st, fmt.Errorf("list pinned links: %w", err)
	}
	st.Layout, st.Off, st.AgentPID, st.AgentAlive = s.Layout, s.Off != 0, int(s.AgentTGID), s.alive()
	st.Silent = s.silence()
	st.Enforcing = len(links) >= len(tracepoints()) && !st.Off
	m, err := ebpf.LoadPinnedMap(filepath.Join(mapDir(pinDir), processMapContainers), nil)
	if err != nil {
		return st, fmt.Errorf("open pinned containers: %w", err)
	}
	defer m.Close()
	var cid uint32
	var c Container
	it := m.Iterate()
	for it.Next(&cid, &c) {
		st.Containers++
	}
	return st, it.Err()
}

// Remove detaches and unpins everything that any agent left under pinDir, and
// lets programs go on that were held. Nothing there is no error.
func Remove(pinDir string) error {
	var errs []error
	// Links first: afterwards nothing new is held.
	errs = append(errs, os.RemoveAll(linkDir(pinDir)), os.RemoveAll(hookDir(pinDir)))
	if m, err := ebpf.LoadPinnedMap(filepath.Join(mapDir(pinDir), processMapHeld), nil); err == nil {
		errs = append(errs, releaseAll(m), m.Close())
	}
	errs = append(errs, os.RemoveAll(mapDir(pinDir)))
	if err := os.Remove(pinDir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove pinned state: %w", err)
	}
	return nil
}

func releaseAll(held *ebpf.Map) error {
	var pid uint32
	var h heldValue
	it := held.Iterate()
	for it.Next(&pid, &h) {
		if h.Released == 0 {
			_ = unix.Kill(int(pid), unix.SIGCONT) // gone is as good
		}
	}
	return it.Err()
}
