package consoletest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/workload"
)

const checkoutYAML = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: checkout, namespace: shop}
spec:
  selector: {matchLabels: {app: checkout}}
  mode: Protect
  whenBlind: Closed
  process:
    drift: Deny
    allow:
      - {path: /usr/local/bin/node}
      - {path: /usr/bin/curl, reason: probe}
    deny: [{class: shell}, {class: package-manager}]
  network:
    ingress:
      - from: [{workload: {namespace: shop, matchLabels: {app: web}}}]
        ports: [tcp/8080]
    egress:
      - {to: [{workload: {namespace: data, matchLabels: {app: orders-db}}}], ports: [tcp/5432]}
`

const webYAML = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mode: Monitor
  process:
    drift: Deny
    allow:
      - {path: /usr/sbin/nginx}
      - {path: /docker-entrypoint.d/**}
      - {path: /usr/bin/legacy-reload}
    deny: [{class: shell}]
`

const dashboardYAML = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: dashboard, namespace: ops}
spec:
  selector: {workloads: [dashboard]}
  mode: Protect
  process:
    drift: Deny
    deny: [{class: shell}, {class: network-tool}]
  network:
    deny:
      egress:
        - {to: [{entity: Internet}], reason: a dashboard has no business outside}
`

const baselineYAML = `apiVersion: gabion.dev/v1alpha1
kind: ClusterWorkloadPolicy
metadata: {name: baseline}
spec:
  selector: {}
  mode: Monitor
  process:
    drift: Deny
  network:
    deny:
      egress:
        - {to: [{entity: Metadata}]}
`

func overview(start time.Time) console.Overview {
	return console.Overview{
		Node: "dock-1", Version: "v0.1.0", Revision: "4f2a9c1", Kernel: "6.18.4", StartedAt: start,
		Runtimes: []string{"containerd 2.1.4 (/run/containerd/containerd.sock)", "docker 27.5 (/run/docker.sock)"},
		Backends: []console.Backend{
			{Name: "lsm", Section: "process", Guarantee: "The program is refused before it is loaded.", Why: "The kernel was started without bpf in lsm=."},
			{Name: "raw_tp+kill", Section: "process", Active: true, Guarantee: "The process is killed before its first instruction returns to user space."},
			{Name: "fanotify", Section: "process", Active: true, Guarantee: "Opening for execution is refused; a program in memory only is not seen."},
			{Name: "cgroup/connect", Section: "network", Active: true, Guarantee: "connect and sendmsg fail at once with an error."},
			{Name: "tcx", Section: "network", Active: true, Guarantee: "Packets of connections that are not allowed are dropped at the interface."},
		},
		Features: []console.Feature{
			{Name: "BPF programs", Works: true, Detail: "A raw tracepoint program was loaded and attached."},
			{Name: "BPF LSM", Detail: "Attaching failed: operation not supported.", Remedy: "Add bpf to the kernel parameter lsm= and restart."},
			{Name: "cgroup v2", Works: true, Detail: "Mounted at /sys/fs/cgroup."},
			{Name: "fanotify exec permission", Works: true},
		},
		Units: []console.Unit{
			{Name: "bus", State: console.UnitOK, Since: start},
			{Name: "store", State: console.UnitOK, Since: start},
			{Name: "containers", State: console.UnitOK, Since: start},
			{Name: "kernel", State: console.UnitOK, Since: start.Add(time.Second)},
			{Name: "firewall", State: console.UnitDegraded, Since: start.Add(40 * time.Minute), Reason: "1 container uses the host's network and is not covered."},
			{Name: "respond", State: console.UnitOK, Since: start},
			{Name: "console", State: console.UnitOK, Since: start},
		},
		Losses: []console.Loss{{What: "first-seen observations", Where: "data/orders-db", Count: 12, Last: start.Add(90 * time.Minute)}},
		Records: []console.Records{
			{ContainerID: id("orders-db"), Workload: workload.Ref{Namespace: "data", Name: "orders-db"}, Ring: "denials", Seen: 3},
			{ContainerID: id("orders-db"), Workload: workload.Ref{Namespace: "data", Name: "orders-db"}, Ring: "observations", Seen: 412, Lost: 12},
		},
	}
}

func id(seed string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	h := uint64(1469598103934665603)
	for _, c := range seed {
		h = (h ^ uint64(c)) * 1099511628211
	}
	for range 64 {
		h = h*6364136223846793005 + 1442695040888963407
		b.WriteByte(hex[h>>60])
	}
	return b.String()
}

var (
	execKill = console.Coverage{Section: "process", Mechanism: "raw_tp+kill", Guarantee: "The process is killed before its first instruction returns to user space."}
	netBoth  = console.Coverage{Section: "network", Mechanism: "cgroup/connect + tcx", Guarantee: "connect and sendmsg fail at once; other packets are dropped at the interface."}
	netNone  = console.Coverage{Section: "network", Mechanism: "none", Guarantee: "Nothing is enforced.", Degraded: "The container uses the host's network, so its connections cannot be told from the host's own."}
)

func box(ns, name, suffix, image string, addr string, started time.Time, args ...string) console.Container {
	c := console.Container{Container: workload.Container{
		ID: id(ns + name + suffix), Name: name + suffix, Runtime: "containerd", RuntimeNamespace: "k8s.io", Node: "dock-1",
		Workload: workload.Ref{Namespace: ns, Name: name, Kind: "Deployment"}, Image: image, ImageDigest: "sha256:" + id(image),
		Labels: map[string]string{"app": name}, PID: 2100 + len(name+suffix)*37, StartedAt: started, Args: args,
	}}
	if addr == "" {
		c.HostNetwork = true
	} else {
		c.Addresses = []netip.Addr{netip.MustParseAddr(addr)}
	}
	return c
}

func ran(path, parent string, n uint64, first, last time.Time) console.LearnedProcess {
	return console.LearnedProcess{Path: path, Parent: parent, InImage: true, Count: n, First: first, Last: last}
}

func workloads(now time.Time) []console.WorkloadDetail {
	first := now.Add(-3 * time.Hour)
	rule := func(policy, field, file string, line int) (r console.PlanRule) {
		r.Rule.Policy, r.Rule.Field, r.Rule.File, r.Rule.Line = policy, field, file, line
		return r
	}
	plan := func(r console.PlanRule, section, effect, what, reason string) console.PlanRule {
		r.Section, r.Effect, r.What, r.Reason = section, effect, what, reason
		return r
	}
	const co, cof = "WorkloadPolicy/shop/checkout", "policies/checkout.yaml"
	checkout := console.WorkloadDetail{
		Workload: console.Workload{
			Ref: workload.Ref{Namespace: "shop", Name: "checkout", Kind: "Deployment"}, Images: []string{"registry.shop.example/checkout:2.14.1"},
			Mode: map[string]string{"process": "Protect", "files": "Protect", "capabilities": "Monitor", "hardening": "Monitor", "network": "Protect"}, Policies: []string{"ClusterWorkloadPolicy/baseline", co},
			Coverage: []console.Coverage{execKill, netBoth}, State: "enforced",
		},
		Running: []console.Container{
			box("shop", "checkout", "-7d9f4-x2k8q", "registry.shop.example/checkout:2.14.1", "10.88.0.12", first, "node", "/app/server.js"),
			box("shop", "checkout", "-7d9f4-m5wzt", "registry.shop.example/checkout:2.14.1", "10.88.0.13", first.Add(time.Minute), "node", "/app/server.js"),
			box("shop", "checkout", "-7d9f4-q9vbn", "registry.shop.example/checkout:2.14.1", "10.88.0.17", first.Add(2*time.Hour), "node", "/app/server.js"),
		},
		Profile: console.Profile{
			Since: first, Last: first.Add(26 * time.Minute), Replicas: 5,
			Processes: []console.LearnedProcess{
				ran("/usr/local/bin/node", "containerd-shim", 5, first, now.Add(-time.Hour)),
				ran("/usr/bin/curl", "/usr/local/bin/node", 5, first.Add(10*time.Second), now.Add(-time.Hour)),
			},
			Egress: []console.LearnedPeer{
				{Workload: workload.Ref{Namespace: "data", Name: "orders-db"}, Address: "10.88.0.20", Port: 5432, Protocol: "tcp", Exe: "/usr/local/bin/node", Count: 41, First: first, Last: now.Add(-time.Minute)},
				{Address: "10.88.0.1", Port: 53, Protocol: "udp", Exe: "/usr/local/bin/node", Count: 320, First: first, Last: now.Add(-time.Minute)},
			},
			Ingress: []console.LearnedPeer{
				{Workload: workload.Ref{Namespace: "shop", Name: "web"}, Address: "10.88.0.11", Port: 8080, Protocol: "tcp", Count: 1290, First: first, Last: now.Add(-10 * time.Second)},
			},
		},
		Plan: console.Plan{ID: "sha256:" + id("plan checkout"), Rules: []console.PlanRule{
			plan(rule(co, "spec.process.drift", cof, 9), "process", "deny", "any program that is not in the image", ""),
			plan(rule(co, "spec.process.deny[0]", cof, 13), "process", "deny", "class shell (sh, bash, dash, ash, zsh and 9 more)", ""),
			plan(rule(co, "spec.process.deny[1]", cof, 13), "process", "deny", "class package-manager (apt, apk, dnf and 11 more)", ""),
			plan(rule(co, "spec.process.allow[0]", cof, 11), "process", "allow", "/usr/local/bin/node", ""),
			plan(rule(co, "spec.process.allow[1]", cof, 12), "process", "allow", "/usr/bin/curl", "probe"),
			plan(rule(co, "spec.process.allow", cof, 10), "process", "deny", "any other program", ""),
			plan(rule(co, "spec.files[0]", cof, 14), "files", "allow", "Read of /run/secrets/token by /usr/local/bin/node only", ""),
			plan(rule("ClusterWorkloadPolicy/baseline", "spec.capabilities.allow", "policies/baseline.yaml", 13), "capabilities", "allow", "NET_BIND_SERVICE", ""),
			plan(rule("ClusterWorkloadPolicy/baseline", "spec.capabilities.allow", "policies/baseline.yaml", 13), "capabilities", "deny", "every other capability", ""),
			plan(rule("ClusterWorkloadPolicy/baseline", "spec.hardening.preset", "policies/baseline.yaml", 14), "hardening", "deny", "mount: mounting, remounting, unmounting and moving file systems", ""),
			plan(rule(co, "spec.network.ingress[0]", cof, 16), "network", "allow", "from shop/web to tcp/8080", ""),
			plan(rule(co, "spec.network.ingress", cof, 15), "network", "deny", "any other incoming connection", ""),
			plan(rule(co, "spec.network.egress[0]", cof, 19), "network", "allow", "to data/orders-db on tcp/5432", ""),
			plan(rule(co, "spec.network.egress", cof, 18), "network", "deny", "any other outgoing connection", ""),
			plan(rule("ClusterWorkloadPolicy/baseline", "spec.network.deny.egress[0]", "policies/baseline.yaml", 11), "network", "deny", "to the cloud metadata service", ""),
		}},
	}
	web := console.WorkloadDetail{
		Workload: console.Workload{
			Ref: workload.Ref{Namespace: "shop", Name: "web", Kind: "Deployment"}, Images: []string{"registry.shop.example/web:5.2.0"},
			Mode: map[string]string{"process": "Monitor", "network": "Monitor"}, Policies: []string{"ClusterWorkloadPolicy/baseline", "WorkloadPolicy/shop/web"},
			Coverage: []console.Coverage{execKill, netBoth}, State: "monitored",
		},
		Running: []console.Container{box("shop", "web", "-5b7cd-kk2p9", "registry.shop.example/web:5.2.0", "10.88.0.11", first, "nginx", "-g", "daemon off;")},
		Profile: console.Profile{Since: first, Last: now.Add(-8 * time.Minute), Replicas: 2,
			Processes: []console.LearnedProcess{ran("/usr/sbin/nginx", "containerd-shim", 2, first, now.Add(-time.Hour)), ran("/bin/dash", "/usr/sbin/nginx", 1, now.Add(-8*time.Minute), now.Add(-8*time.Minute))}},
	}
	db := console.WorkloadDetail{
		Workload: console.Workload{
			Ref: workload.Ref{Namespace: "data", Name: "orders-db", Kind: "StatefulSet"}, Images: []string{"registry.data.example/postgres:17.2"},
			Mode: map[string]string{"process": "Learn"}, Policies: nil, Coverage: []console.Coverage{execKill}, State: "learning",
		},
		Running: []console.Container{box("data", "orders-db", "-0", "registry.data.example/postgres:17.2", "10.88.0.20", first, "postgres")},
		Profile: console.Profile{Since: first, Last: now.Add(-20 * time.Minute), Replicas: 1, Processes: []console.LearnedProcess{
			ran("/usr/lib/postgresql/17/bin/postgres", "containerd-shim", 1, first, now.Add(-time.Hour)), ran("/usr/bin/pg_isready", "containerd-shim", 1, first, now.Add(-time.Minute))}},
	}
	dash := console.WorkloadDetail{
		Workload: console.Workload{
			Ref: workload.Ref{Namespace: "ops", Name: "dashboard", Kind: "Container"}, Images: []string{"registry.ops.example/careless/dashboard:latest"},
			Mode: map[string]string{"process": "Protect", "network": "Protect"}, Policies: []string{"ClusterWorkloadPolicy/baseline", "WorkloadPolicy/ops/dashboard"},
			Coverage: []console.Coverage{execKill, netBoth}, State: "enforced",
		},
		Running: []console.Container{box("ops", "dashboard", "", "registry.ops.example/careless/dashboard:latest", "10.88.0.31", first, "/srv/dashboard")},
		Profile: console.Profile{Since: first, Last: first.Add(time.Minute), Replicas: 1, Processes: []console.LearnedProcess{ran("/srv/dashboard", "dockerd", 1, first, first)}},
	}
	exporter := console.WorkloadDetail{
		Workload: console.Workload{
			Ref: workload.Ref{Namespace: "ops", Name: "node-exporter", Kind: "DaemonSet"}, Images: []string{"registry.ops.example/node-exporter:v1.9.0"},
			Mode: map[string]string{"process": "Protect", "network": "Protect"}, Policies: []string{"ClusterWorkloadPolicy/baseline"},
			Coverage: []console.Coverage{execKill, netNone}, State: "blind",
		},
		Running: []console.Container{box("ops", "node-exporter", "-t4m2v", "registry.ops.example/node-exporter:v1.9.0", "", first, "/bin/node_exporter")},
	}
	out := []console.WorkloadDetail{checkout, web, db, dash, exporter}
	for i, name := range []string{"cart", "catalog", "mailer", "payments", "search", "invoice-batch", "sessions"} {
		w := console.WorkloadDetail{
			Workload: console.Workload{
				Ref: workload.Ref{Namespace: "shop", Name: name, Kind: "Deployment"}, Images: []string{fmt.Sprintf("registry.shop.example/%s:1.%d.0", name, i+2)},
				Mode: map[string]string{"process": "Monitor", "network": "Monitor"}, Policies: []string{"ClusterWorkloadPolicy/baseline"},
				Coverage: []console.Coverage{execKill, netBoth}, State: "monitored",
			},
			Running: []console.Container{box("shop", name, "-6c8d7-abcde", "registry.shop.example/"+name+":1", fmt.Sprintf("10.88.0.%d", 40+i), first)},
			Profile: console.Profile{Since: first, Last: first, Replicas: 1, Processes: []console.LearnedProcess{ran("/app/"+name, "containerd-shim", 1, first, first)}},
		}
		if name == "invoice-batch" {
			w.Running, w.State, w.Coverage = nil, "idle", nil
		}
		out = append(out, w)
	}
	for i := range out {
		for j := range out[i].Running {
			out[i].Running[j].Coverage = out[i].Coverage
			out[i].Running[j].EnforcedAfterUS = int64(180 * (j + 1))
		}
	}
	return out
}

func conditions(now time.Time, enforced bool, degraded string) []console.Condition {
	since := now.Add(-170 * time.Minute)
	c := []console.Condition{
		{Type: "Ready", Status: true, Reason: "Compiled", Message: "The policy is valid and compiled.", Since: since},
		{Type: "Enforced", Status: enforced, Reason: "InForce", Message: "Every selected container has the plan.", Since: since},
		{Type: "Degraded", Status: degraded != "", Message: degraded, Since: since},
	}
	if !enforced {
		c[1].Reason, c[1].Message = "NotProtect", "The policy watches; it does not block."
	}
	return c
}

func policies(now time.Time) []console.Policy {
	return []console.Policy{
		{ID: "WorkloadPolicy/shop/checkout", Kind: "WorkloadPolicy", Namespace: "shop", Name: "checkout", Mode: "Protect", File: "policies/checkout.yaml", Line: 1,
			Source: checkoutYAML, Conditions: conditions(now, true, ""), Workloads: []string{"shop/checkout"}, Containers: 3},
		{ID: "WorkloadPolicy/shop/web", Kind: "WorkloadPolicy", Namespace: "shop", Name: "web", Mode: "Monitor", File: "policies/web.yaml", Line: 1,
			Source: webYAML, Conditions: conditions(now, false, ""), Workloads: []string{"shop/web"}, Containers: 1,
			Problems: []console.Problem{{Severity: "warning", File: "policies/web.yaml", Line: 12, Field: "spec.process.allow[2].path",
				Message: "no container that this policy selects has this file", Hint: "Remove the rule, or correct the path."}}},
		{ID: "WorkloadPolicy/ops/dashboard", Kind: "WorkloadPolicy", Namespace: "ops", Name: "dashboard", Mode: "Protect", File: "policies/ops.yaml", Line: 1,
			Source: dashboardYAML, Conditions: conditions(now, true, ""), Workloads: []string{"ops/dashboard"}, Containers: 1},
		{ID: "ClusterWorkloadPolicy/baseline", Kind: "ClusterWorkloadPolicy", Name: "baseline", Mode: "Monitor", File: "policies/baseline.yaml", Line: 1,
			Source: baselineYAML, Conditions: conditions(now, false, "1 of 12 containers cannot be watched: ops/node-exporter uses the host's network."),
			Workloads: []string{"shop/checkout", "shop/web", "ops/dashboard", "ops/node-exporter", "shop/cart", "shop/catalog"}, Containers: 12},
	}
}

func forecast(start time.Time, id, from, to string) console.Forecast {
	f := console.Forecast{Policy: id, From: from, To: to, Since: start, Judged: 46, Ready: true,
		Summary: "Nothing that was seen would have been blocked. Promotion is safe as far as anyone can tell.",
		Evidence: []console.Evidence{
			{Name: "Replicas observed", Have: "5", Want: "2", Met: true},
			{Name: "Observed for", Have: "3 h", Want: "1 h", Met: true},
			{Name: "Quiet since", Have: "2 h 34 min", Want: "30 min", Met: true},
		},
	}
	if id == "WorkloadPolicy/shop/web" {
		f.Ready, f.WouldBlock = false, 1
		f.Summary = "One behaviour would have been blocked. Allow it or find out why it happens first."
		f.Evidence[2] = console.Evidence{Name: "Quiet since", Have: "8 min", Want: "30 min"}
		f.Items = []console.ForecastItem{{Kind: "process.exec", Workload: workload.Ref{Namespace: "shop", Name: "web"}, What: "/bin/dash",
			Reasons: []string{"denied"}, Count: 3, Last: start.Add(172 * time.Minute)}}
	}
	return f
}
