package agent

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/detect"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// Detector finds behaviour that detections describe; guard/detect.Engine is
// one.
type Detector interface {
	Handle(detect.Happening) []detect.Match
	Forget(container string)
}

const (
	// maxTold bounds how many happenings wait to be looked at.
	maxTold = 4096
	// maxDenials bounds the denials remembered as told, so that a count that
	// grows is not a new happening.
	maxDenials = 16384
)

// detection is the way from what is seen to the detector. Whoever sees never
// waits for it: what finds no room is counted and recorded.
type detection struct {
	told chan told
	lost *atomic.Uint64
}

// told is one happening, or the end of a container.
type told struct {
	h      detect.Happening
	c      workload.Container
	denial string // the denial's ID
	peer   workload.Ref
	ended  string
}

func newDetection(d Detector) detection {
	if d == nil {
		return detection{}
	}
	return detection{told: make(chan told, maxTold), lost: new(atomic.Uint64)}
}

func (a *Agent) tell(t told) bool {
	if a.detect.told == nil {
		return true
	}
	select {
	case a.detect.told <- t:
		return true
	default:
		return false
	}
}

func (a *Agent) endDetection(id string) {
	if !a.tell(told{ended: id}) {
		a.deps.Detector.Forget(id)
	}
}

func (a *Agent) detectObservation(c workload.Container, o guard.Observation, peer workload.Ref) {
	h := happening(c, o.Kind, o.Process, peer)
	h.Time, h.Applet, h.Signals, h.Operation = o.Time, o.Applet, o.Signals, o.Operation
	h.Path, h.Peer, h.Port, h.LocalPort = o.Path, o.Peer, o.PeerPort, o.LocalPort
	h.Protocol = protocolName(o.Protocol)
	if o.Kind == event.ProcessExec {
		h.Exe, h.Path, h.Dropped = o.Path, "", !o.InImage
	}
	if !a.tell(told{h: h, c: c, peer: peer}) {
		a.detect.lost.Add(1)
	}
}

func (a *Agent) detectDenial(c workload.Container, d guard.Denial, peer workload.Ref) {
	h := happening(c, d.Kind, d.Process, peer)
	h.Time, h.Applet, h.Operation, h.Effect = d.First, d.Applet, d.Operation, d.Effect
	h.Path, h.Peer, h.Port, h.LocalPort = d.Path, d.Peer, d.PeerPort, d.LocalPort
	h.Protocol = protocolName(d.Protocol)
	switch d.Kind {
	case event.ProcessExec, event.ProcessDrift, event.ProcessFileless:
		h.Exe, h.Path = d.Path, ""
		h.Dropped = d.Reasons&(policy.ReasonDrift|policy.ReasonChanged|policy.ReasonFileless) != 0
	}
	if !a.tell(told{h: h, c: c, peer: peer, denial: d.ID}) {
		a.detect.lost.Add(1)
	}
}

func happening(c workload.Container, kind event.Kind, p event.Process, peer workload.Ref) detect.Happening {
	h := detect.Happening{
		Container: c.ID, Kind: kind, PID: p.PID, PPID: p.PPID, UID: p.UID, Exe: p.Exe, Args: p.Args,
		Parent: p.ParentExe, ParentArgs: p.ParentArgs, Workload: c.Workload.String(), Image: c.Image,
	}
	if !peer.IsZero() {
		h.PeerWorkload = peer.String()
	}
	return h
}

// runDetection looks at what was told, one after another.
func (a *Agent) runDetection(ctx context.Context) error {
	denials := map[string]bool{}
	report := time.NewTicker(time.Second)
	defer report.Stop()
	var lost uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-report.C:
			if n := a.detect.lost.Load(); n != lost {
				lost = n
				a.recordUndetected(n)
			}
		case t := <-a.detect.told:
			if t.ended != "" {
				a.deps.Detector.Forget(t.ended)
				continue
			}
			if t.denial != "" {
				if denials[t.denial] {
					continue
				}
				if len(denials) >= maxDenials {
					clear(denials)
				}
				denials[t.denial] = true
			}
			for _, m := range a.deps.Detector.Handle(t.h) {
				a.deps.Record(a.detectionEvent(t, m))
			}
		}
	}
}

// recordUndetected says that detections did not look at everything: more came
// in than they could take.
func (a *Agent) recordUndetected(n uint64) {
	ev := a.about(workload.Container{}, event.AgentLoss, "detection", a.deps.Now().Truncate(time.Minute).String())
	ev.Severity, ev.Count = event.Medium, n
	ev.Evidence = map[string]string{"happenings": strconv.FormatUint(n, 10)}
	ev.Message = fmt.Sprintf("%d happenings so far were not looked at by detections, because more came in than they could take; no decision of policy was lost", n)
	a.deps.Record(ev)
}

func (a *Agent) detectionEvent(t told, m detect.Match) event.Event {
	ev := a.about(t.c, event.Detection)
	ev.ID, ev.First, ev.Last, ev.Count = m.ID, m.First.UTC(), m.Last.UTC(), m.Count
	ev.Severity, ev.Technique, ev.Effect, ev.Mechanism = m.Severity, m.Techniques, m.Effect, "detection"
	ev.Rule = &event.RuleRef{Policy: "Detection/" + m.Detection, File: m.File}
	ev.Message = fmt.Sprintf("%s in %s: %s", m.Title, t.c.Workload, m.Words())
	ev.Evidence = map[string]string{"detection": m.Detection, "remedy": m.Remedy}
	for i := range m.Steps {
		s := &m.Steps[i]
		ev.Evidence["step"+strconv.Itoa(i+1)] = s.Time.UTC().Format(time.RFC3339Nano) + " " + s.Words()
	}
	last := &m.Steps[len(m.Steps)-1]
	ev.Process = &event.Process{PID: last.PID, PPID: last.PPID, UID: last.UID, Exe: last.Exe, Args: last.Args, ParentExe: last.Parent, ParentArgs: last.ParentArgs}
	ev.Path = last.Path
	if ev.Path == "" {
		ev.Path = last.Exe
	}
	if last.Peer.IsValid() {
		ev.Peer = &event.Peer{Addr: last.Peer, Port: last.Port, Protocol: last.Protocol, LocalPort: last.LocalPort, Workload: t.peer}
	}
	return ev
}
