package detect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// Happening is one thing that a process of a container did, or tried to do.
// The JSON form is that of the cases beside detections.
type Happening struct {
	Container string     `json:"-"`
	Time      time.Time  `json:"-"`
	Kind      event.Kind `json:"kind"`

	PID  int    `json:"pid,omitempty"`
	PPID int    `json:"ppid,omitempty"`
	UID  uint32 `json:"uid,omitempty"`
	// Exe is the process's program as the container sees it; Applet the name
	// under which a multi-call program acts.
	Exe    string   `json:"exe,omitempty"`
	Applet string   `json:"applet,omitempty"`
	Args   []string `json:"args,omitempty"`
	// Parent is the starter's program, as a path or a base name.
	Parent     string   `json:"parent,omitempty"`
	ParentArgs []string `json:"parentArgs,omitempty"`
	// Signals are those of guard.Observation.
	Signals []string `json:"signals,omitempty"`
	// Dropped: the program is not the image's own, or was changed.
	Dropped bool `json:"dropped,omitempty"`

	// Path and Operation are of file, capability and hardening happenings.
	Path      string `json:"path,omitempty"`
	Operation string `json:"operation,omitempty"`

	Peer      netip.Addr `json:"peer,omitzero"`
	Port      uint16     `json:"port,omitempty"` // the peer's
	LocalPort uint16     `json:"localPort,omitempty"`
	Protocol  string     `json:"protocol,omitempty"`
	// PeerWorkload is namespace/name when the peer is a workload known here.
	PeerWorkload string `json:"peerWorkload,omitempty"`

	Workload string `json:"workload,omitempty"` // namespace/name
	Image    string `json:"image,omitempty"`
	// Effect says whether policy stopped it; empty is observed.
	Effect event.Effect `json:"effect,omitempty"`
}

// Program is the name the process acts under: the applet of a multi-call
// program, else the base name of its file.
func (h *Happening) Program() string {
	if h.Applet != "" {
		return h.Applet
	}
	if h.Exe == "" {
		return ""
	}
	return path.Base(h.Exe)
}

// family is a program's name without the version behind it: python3.11 is
// python, php-fpm8.2 is php-fpm.
func family(name string) string {
	return strings.TrimRight(strings.TrimRight(name, "0123456789."), "-")
}

func baseName(p string) string {
	if p == "" {
		return ""
	}
	return path.Base(p)
}

// maxLine bounds the command line that expressions see.
const maxLine = 4096

func commandLine(args []string) string {
	n := 0
	for _, a := range args {
		n += len(a) + 1
	}
	var b strings.Builder
	b.Grow(min(n, maxLine))
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if room := maxLine - b.Len(); len(a) > room {
			b.WriteString(strings.ToValidUTF8(a[:max(0, room)], ""))
			break
		}
		b.WriteString(a)
	}
	return b.String()
}

// Words describes it in a line for people.
func (h *Happening) Words() string {
	what := h.Exe
	if h.Applet != "" && h.Applet != path.Base(h.Exe) {
		what += " as " + h.Applet
	}
	if what == "" {
		what = "a process"
	}
	switch h.Kind {
	case event.NetworkConnect:
		what += fmt.Sprintf(" connects to %s", h.peerWords(h.Port))
	case event.NetworkAccept:
		what += fmt.Sprintf(" is reached on port %d by %s", h.LocalPort, h.Peer)
	case event.FileAccess:
		what += fmt.Sprintf(" uses %s (%s)", h.Path, strings.ToLower(h.Operation))
	case event.CapabilityUse, event.Hardening:
		what += " asks for " + h.Operation
	case event.NetworkSocket:
		what += " opens a socket of a family that bypasses the firewall"
	default:
		if len(h.Args) > 0 {
			what += ": " + cut(commandLine(h.Args), 200)
		}
		if h.Parent != "" {
			what += " (started by " + path.Base(h.Parent) + ")"
		}
	}
	if h.Effect == event.Blocked {
		what += ", blocked"
	}
	return what
}

func (h *Happening) peerWords(port uint16) string {
	name := h.PeerWorkload
	if name == "" {
		name = h.Peer.String()
	}
	return fmt.Sprintf("%s %s/%d", name, h.Protocol, port)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// recorded is a happening in a case: At is in seconds since the case began.
type recorded struct {
	At float64 `json:"at,omitempty"`
	Happening
}

// ParseHappening reads a happening of a case that began at the moment start.
func ParseHappening(data []byte, start time.Time) (Happening, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var r recorded
	if err := dec.Decode(&r); err != nil {
		return Happening{}, fmt.Errorf("read happening: %w", err)
	}
	if r.At < 0 || r.At > 1e6 {
		return Happening{}, fmt.Errorf("read happening: at %g is not a number of seconds from 0 to 1,000,000", r.At)
	}
	if !knownKind(r.Kind) {
		return Happening{}, fmt.Errorf("read happening: kind %q is none that detections see; use one of %v", r.Kind, Kinds())
	}
	r.Time = start.Add(time.Duration(r.At * float64(time.Second)))
	return r.Happening, nil
}

// Kinds are the kinds of happenings that detections may ask for. A program
// start of any kind is process.exec; `dropped` and the signals tell the rest.
func Kinds() []event.Kind {
	return []event.Kind{event.ProcessExec, event.NetworkConnect, event.NetworkAccept, event.NetworkSocket,
		event.FileAccess, event.CapabilityUse, event.Hardening}
}

func knownKind(k event.Kind) bool {
	for _, x := range Kinds() {
		if x == k {
			return true
		}
	}
	return false
}
