package detect

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
)

// FromEvent gives the happening that an event of a container tells of, and
// false for events that detections do not see.
func FromEvent(e event.Event) (Happening, bool) {
	h := Happening{
		Container: e.ContainerID, Time: e.First, Kind: e.Kind, Applet: e.Evidence["applet"],
		Operation: cmp.Or(e.Evidence["operation"], e.Evidence["access"], e.Evidence["capability"]),
		Workload:  e.Workload.String(), Image: e.Image, Effect: e.Effect, Path: e.Path,
	}
	if e.Workload.IsZero() {
		h.Workload = ""
	}
	if s := e.Evidence["signals"]; s != "" {
		h.Signals = strings.Split(s, ",")
	}
	if h.Effect == event.Observed {
		h.Effect = ""
	}
	if p := e.Process; p != nil {
		h.PID, h.PPID, h.UID, h.Exe, h.Args = p.PID, p.PPID, p.UID, p.Exe, p.Args
		h.Parent, h.ParentArgs = p.ParentExe, p.ParentArgs
	}
	if p := e.Peer; p != nil {
		h.Peer, h.Port, h.LocalPort, h.Protocol = p.Addr, p.Port, p.LocalPort, p.Protocol
		if !p.Workload.IsZero() {
			h.PeerWorkload = p.Workload.String()
		}
	}
	switch e.Kind {
	case event.ProcessExec, event.ProcessDrift, event.ProcessFileless:
		if h.Exe == "" {
			h.Exe = e.Path
		}
		h.Path, h.Dropped = "", e.Evidence["inImage"] == "false" || e.Kind != event.ProcessExec
		if e.Kind == event.ProcessFileless {
			h.Signals = append(h.Signals, "memfd")
		}
		h.Kind = event.ProcessExec
	}
	return h, knownKind(h.Kind)
}

// Record makes a case of happenings, to be kept beside a detection. The
// first one is at 0.
func Record(name string, list []Happening) (content.DetectionCase, error) {
	c := content.DetectionCase{Name: name}
	for i := range list {
		data, err := json.Marshal(recorded{At: seconds(list[i].Time.Sub(list[0].Time)), Happening: list[i]})
		if err != nil {
			return c, err
		}
		c.Happenings = append(c.Happenings, data)
	}
	return c, nil
}

// seconds is never before the beginning and says no more than milliseconds.
func seconds(d time.Duration) float64 {
	return float64(max(0, d.Milliseconds())) / 1000
}
