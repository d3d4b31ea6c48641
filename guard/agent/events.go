package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/profile"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// about begins an event of a container; cause makes its ID.
func (a *Agent) about(c workload.Container, kind event.Kind, cause ...string) event.Event {
	now := a.deps.Now().UTC()
	parts := append([]string{a.cfg.Node, c.ID, string(kind)}, cause...)
	if kind == event.PolicyChange {
		parts = append(parts, strconv.FormatInt(now.UnixNano(), 10))
	}
	return event.Event{
		ID: eventID(parts...), Kind: kind, First: now, Last: now, Count: 1, Severity: event.Info,
		Node: a.cfg.Node, Workload: c.Workload, ContainerID: c.ID, Container: c.Name, Image: c.Image,
	}
}

func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func (a *Agent) recordStart(id string) {
	a.mu.Lock()
	e := a.entries[id]
	if e == nil {
		a.mu.Unlock()
		return
	}
	c, held, by, first, at, coverage, plan := e.c, e.held, e.heldBy, e.firstExec, e.enforcedAt, e.coverage, e.plan
	a.mu.Unlock()
	ev := a.about(c, event.ContainerStart, strconv.Itoa(c.PID))
	if !c.StartedAt.IsZero() {
		ev.First, ev.Last = c.StartedAt.UTC(), c.StartedAt.UTC()
	}
	ev.Evidence = map[string]string{"runtime": c.Runtime, "heldBeforeFirstInstruction": strconv.FormatBool(held), "plan": planWords(plan)}
	if by != "" {
		ev.Evidence["heldBy"] = by
	}
	// Measured by one clock only: start times that runtimes tell are too coarse.
	if !at.IsZero() && !first.IsZero() {
		ev.Evidence["coveredAfterMs"] = strconv.FormatFloat(float64(max(0, at.Sub(first)).Microseconds())/1000, 'f', 1, 64)
	}
	for _, cov := range coverage {
		ev.Evidence[cov.Section] = cov.Mechanism
	}
	ev.Message = fmt.Sprintf("%s started (container %s, %s) under %s", c.Workload, c.Short(), c.Runtime, planWords(plan))
	if len(c.Args) > 0 {
		ev.Path = c.Args[0]
	}
	a.deps.Record(ev)
}

// early is a denial that came before its container was known: an agent that
// takes over from a killed one hears of old counts before it has found the
// containers.
type early struct {
	guard.Denial
	at time.Time
}

const (
	// settleAfter is how long a denial waits for its container to be known.
	settleAfter = 10 * time.Second
	// maxEarly bounds how many wait.
	maxEarly = 16384
)

// Denied implements guard.Sink.
func (a *Agent) Denied(d guard.Denial) {
	a.mu.Lock()
	e := a.entries[d.ContainerID]
	if (e == nil || !e.applied) && len(a.early) < maxEarly {
		a.early[d.ID] = early{d, a.deps.Now()}
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.recordDenial(d)
}

// replay records what waited for a container that is known now.
func (a *Agent) replay(containerID string) {
	a.takeEarly(func(d early) bool { return d.ContainerID == containerID })
}

// settle records what has waited since before then, with what is known.
func (a *Agent) settle(then time.Time) {
	a.takeEarly(func(d early) bool { return d.at.Before(then) })
}

func (a *Agent) takeEarly(which func(early) bool) {
	var list []guard.Denial
	a.mu.Lock()
	for id, d := range a.early {
		if which(d) {
			list = append(list, d.Denial)
			delete(a.early, id)
		}
	}
	a.mu.Unlock()
	for _, d := range list {
		a.recordDenial(d)
	}
}

func (a *Agent) recordDenial(d guard.Denial) {
	a.mu.Lock()
	e := a.entries[d.ContainerID]
	var c workload.Container
	var plan *policy.Plan
	if e != nil {
		c, plan = e.c, e.plan
	} else {
		c.ID = d.ContainerID
	}
	peer, _ := a.neighbours.Lookup(d.Peer)
	a.mu.Unlock()

	ev := a.about(c, d.Kind)
	ev.ID, ev.First, ev.Last, ev.Count = d.ID, d.First.UTC(), d.Last.UTC(), d.Count
	ev.Verdict, ev.Effect, ev.Mechanism = event.Deny, d.Effect, d.Mechanism
	ev.Reasons = d.Reasons.Words()
	p := d.Process
	ev.Process = &p
	ev.Path = d.Path
	ev.Severity = denialSeverity(d)
	if plan != nil {
		if d.Rule > 0 && d.Rule < len(plan.Rules) {
			r := plan.Rules[d.Rule]
			ev.Rule = &r
		}
		ev.Mode = sectionMode(plan, d.Kind)
	}
	ev.Evidence = map[string]string{}
	if d.Applet != "" {
		ev.Evidence["applet"] = d.Applet
	}
	if d.Operation != "" {
		ev.Evidence["operation"] = d.Operation
	}
	if d.Peer.IsValid() {
		ev.Peer = &event.Peer{Addr: d.Peer, Port: d.PeerPort, Protocol: protocolName(d.Protocol), Workload: peer, LocalPort: d.LocalPort}
	}
	program := d.Path
	if d.Applet != "" {
		program = d.Applet
	}
	ev.Technique = a.deps.Techniques(string(d.Kind), ev.Reasons, program)
	ev.Message = denialMessage(c, d, ev)
	a.deps.Record(ev)
	a.detectDenial(c, d, peer)
}

// Observed implements guard.Sink.
func (a *Agent) Observed(o guard.Observation) {
	a.mu.Lock()
	e := a.entries[o.ContainerID]
	if e == nil {
		a.mu.Unlock()
		return
	}
	c, plan := e.c, e.plan
	peer, _ := a.neighbours.Lookup(o.Peer)
	if l := a.profiles[c.Workload]; l != nil {
		l.p.Observe(o, peer, profile.ImageKey(&c))
		l.dirty = true
	}
	a.mu.Unlock()
	a.detectObservation(c, o, peer)

	ev := a.about(c, o.Kind, "seen", o.Path, o.Applet, o.Operation, o.Process.ParentExe, o.Peer.String(), strconv.Itoa(int(o.PeerPort)), strconv.Itoa(int(o.LocalPort)), strconv.Itoa(int(o.Protocol)))
	ev.First, ev.Last = o.Time.UTC(), o.Time.UTC()
	ev.Effect, ev.Path = event.Observed, o.Path
	p := o.Process
	ev.Process = &p
	if plan != nil {
		ev.Mode = sectionMode(plan, o.Kind)
	} else {
		ev.Mode = "Learn"
	}
	ev.Evidence = map[string]string{}
	if o.Applet != "" {
		ev.Evidence["applet"] = o.Applet
	}
	if len(o.Signals) > 0 {
		ev.Evidence["signals"] = strings.Join(o.Signals, ",")
	}
	if o.Kind == event.ProcessExec && !o.InImage {
		ev.Evidence["inImage"] = "false"
	}
	if len(o.Signals) > 0 {
		ev.Evidence["signals"] = strings.Join(o.Signals, ",")
	}
	switch o.Kind {
	case event.NetworkConnect:
		ev.Peer = &event.Peer{Addr: o.Peer, Port: o.PeerPort, Protocol: protocolName(o.Protocol), Workload: peer}
		ev.Message = fmt.Sprintf("%s connects to %s for the first time", c.Workload, peerWords(ev.Peer))
	case event.NetworkAccept:
		ev.Peer = &event.Peer{Addr: o.Peer, LocalPort: o.LocalPort, Protocol: protocolName(o.Protocol), Workload: peer}
		ev.Message = fmt.Sprintf("%s is reached on %s/%d by %s for the first time", c.Workload, ev.Peer.Protocol, o.LocalPort, peerName(ev.Peer))
	case event.FileAccess:
		ev.Evidence["operation"] = o.Operation
		ev.Message = fmt.Sprintf("%s uses files in %s for the first time: %s, by %s", c.Workload, o.Path, o.Operation, o.Process.Exe)
	case event.CapabilityUse:
		ev.Evidence["operation"] = o.Operation
		ev.Message = fmt.Sprintf("%s uses the capability %s for the first time, by %s", c.Workload, o.Operation, o.Process.Exe)
	default:
		ev.Message = fmt.Sprintf("%s runs %s for the first time", c.Workload, programWords(o.Path, o.Applet))
	}
	a.deps.Record(ev)
}

// Started implements guard.Sink. It never blocks: when more containers start
// at once than the queue holds, discovery will find them and the kernel's own
// bound lets them go on.
func (a *Agent) Started(s guard.Start) {
	select {
	case a.starts <- s:
	default:
		a.deps.Log.Error("more containers start at once than can be queued; this one waits for discovery", "pid", s.PID)
	}
}

// Lost implements guard.Sink.
func (a *Agent) Lost(l guard.Loss) {
	a.mu.Lock()
	sum := a.lossBy[l.ContainerID]
	sum.ContainerID = l.ContainerID
	sum.Observations += l.Observations
	sum.Causes += l.Causes
	a.lossBy[l.ContainerID] = sum
	var c workload.Container
	if e := a.entries[l.ContainerID]; e != nil {
		c = e.c
	} else {
		c.ID = l.ContainerID
	}
	a.mu.Unlock()
	ev := a.about(c, event.AgentLoss, a.deps.Now().Truncate(time.Minute).String())
	ev.Severity, ev.Count = event.Medium, sum.Observations+sum.Causes
	ev.Evidence = map[string]string{"observations": strconv.FormatUint(sum.Observations, 10), "causes": strconv.FormatUint(sum.Causes, 10)}
	ev.Message = fmt.Sprintf("%s: %d first-seen reports and the details of %d denials were lost so far; no decision was", c.Workload, sum.Observations, sum.Causes)
	a.deps.Record(ev)
}

func denialSeverity(d guard.Denial) event.Severity {
	switch {
	case d.Reasons&policy.ReasonQuarantine != 0:
		return event.Low
	case d.Reasons&(policy.ReasonDrift|policy.ReasonFileless|policy.ReasonChanged|policy.ReasonFamily) != 0:
		return event.Critical
	case d.Reasons&policy.ReasonDenied != 0:
		return event.High
	}
	return event.Medium
}

// sectionOf names the section of a plan that speaks about a kind of event.
func sectionOf(k event.Kind) string {
	switch k {
	case event.FileAccess:
		return "files"
	case event.CapabilityUse:
		return "capabilities"
	case event.Hardening:
		return "hardening"
	}
	if strings.HasPrefix(string(k), "network.") {
		return "network"
	}
	return "process"
}

func sectionMode(plan *policy.Plan, k event.Kind) string {
	if m, ok := plan.Modes()[sectionOf(k)]; ok {
		return string(m)
	}
	return string(v1alpha1.Learn)
}

func denialMessage(c workload.Container, d guard.Denial, ev event.Event) string {
	verb := map[event.Effect]string{event.Blocked: "Blocked", event.WouldBlock: "Would have blocked", event.NotBlocked: "Could not block"}[d.Effect]
	what := ""
	switch d.Kind {
	case event.NetworkConnect:
		what = "a connection of " + c.Workload.String() + " to " + peerWords(ev.Peer)
	case event.NetworkAccept:
		what = "a connection from " + peerName(ev.Peer) + " to " + c.Workload.String() + " port " + strconv.Itoa(int(d.LocalPort))
	case event.NetworkSocket:
		what = "a socket that bypasses the firewall in " + c.Workload.String()
	case event.FileAccess:
		what = fmt.Sprintf("%s of %s by %s in %s", d.Operation, d.Path, processWords(d.Process), c.Workload)
	case event.CapabilityUse:
		what = fmt.Sprintf("use of capability %s by %s in %s", d.Operation, processWords(d.Process), c.Workload)
	case event.Hardening:
		what = fmt.Sprintf("%s by %s in %s", d.Operation, processWords(d.Process), c.Workload)
		if d.Path != "" {
			what = fmt.Sprintf("%s (%s) by %s in %s", d.Operation, d.Path, processWords(d.Process), c.Workload)
		}
	default:
		what = programWords(d.Path, d.Applet) + " in " + c.Workload.String()
	}
	return fmt.Sprintf("%s %s: %s", verb, what, reasonSentence(d.Reasons))
}

func reasonSentence(r policy.Reason) string {
	var out []string
	for _, s := range []struct {
		bit  policy.Reason
		text string
	}{
		{policy.ReasonQuarantine, "the container is in quarantine"},
		{policy.ReasonDenied, "a rule denies it"},
		{policy.ReasonDrift, "the image has no such executable"},
		{policy.ReasonChanged, "the image's file was changed"},
		{policy.ReasonFileless, "it exists only in memory"},
		{policy.ReasonNotListed, "no rule allows it"},
		{policy.ReasonTooDeep, "its path is deeper than can be judged"},
		{policy.ReasonUnknown, "what the decision needs could not be read"},
		{policy.ReasonFamily, "its socket family is not one the firewall can judge"},
	} {
		if r&s.bit != 0 {
			out = append(out, s.text)
		}
	}
	return strings.Join(out, "; ")
}

func programWords(file, applet string) string {
	if applet != "" && applet != path.Base(file) {
		return file + " as " + applet
	}
	return file
}

func processWords(p event.Process) string {
	if p.Exe == "" {
		return "process " + strconv.Itoa(p.PID)
	}
	return p.Exe
}

func peerName(p *event.Peer) string {
	if p == nil {
		return "an unknown peer"
	}
	if !p.Workload.IsZero() {
		return p.Workload.String()
	}
	return p.Addr.String()
}

func peerWords(p *event.Peer) string {
	if p == nil {
		return "an unknown peer"
	}
	return fmt.Sprintf("%s %s/%d", peerName(p), p.Protocol, p.Port)
}

func protocolName(n uint8) string {
	switch n {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(n))
}

func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list node addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		ipn, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ipn.IP); ok && !addr.IsLoopback() {
			out = append(out, addr.Unmap())
		}
	}
	return out, nil
}
