package profile

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
	"github.com/google/go-cmp/cmp"
)

var (
	shop  = workload.Ref{Namespace: "shop", Name: "checkout", Kind: "Container"}
	db    = workload.Ref{Namespace: "data", Name: "orders-db"}
	start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
)

func exec(path, parent string, inImage bool, after time.Duration) guard.Observation {
	return guard.Observation{
		Kind: event.ProcessExec, Time: start.Add(after), Path: path, InImage: inImage,
		Process: event.Process{ParentExe: parent},
	}
}

func conn(kind event.Kind, addr string, protocol uint8, port uint16) guard.Observation {
	o := guard.Observation{Kind: kind, Time: start, Peer: netip.MustParseAddr(addr), Protocol: protocol}
	if kind == event.NetworkAccept {
		o.LocalPort, o.PeerPort = port, 45678
	} else {
		o.PeerPort = port
	}
	return o
}

func TestProfile(t *testing.T) {
	p := New(shop)
	c := workload.Container{ID: "aaaaaaaaaaaaaaaa", Workload: shop, Image: "shop/checkout:1", Labels: map[string]string{"app": "checkout", "pod": "a"}}
	p.Container(c, start)
	p.Container(c, start.Add(time.Minute))
	c.ID, c.Labels = "bbbbbbbbbbbbbbbb", map[string]string{"app": "checkout", "pod": "b"}
	p.Container(c, start.Add(time.Hour))
	p.Observe(exec("/usr/bin/node", "", true, 0), workload.Ref{}, "shop/checkout:1")
	p.Observe(exec("/usr/bin/node", "", true, time.Second), workload.Ref{}, "shop/checkout:1")
	p.Observe(exec("/tmp/build-8f3a91c2/run", "/usr/bin/node", false, 0), workload.Ref{}, "shop/checkout:1")
	p.Observe(conn(event.NetworkConnect, "10.0.0.9", 6, 5432), db, "shop/checkout:1")
	p.Observe(conn(event.NetworkConnect, "::ffff:10.0.0.10", 6, 5432), db, "shop/checkout:1")
	p.Observe(conn(event.NetworkConnect, "192.0.2.1", 17, 53), workload.Ref{}, "shop/checkout:1")
	p.Observe(conn(event.NetworkConnect, "127.0.0.1", 6, 1), workload.Ref{}, "shop/checkout:1")
	p.Observe(conn(event.NetworkAccept, "10.0.0.3", 6, 8080), workload.Ref{Namespace: "shop", Name: "web"}, "shop/checkout:1")
	p.Observe(conn(event.NetworkConnect, "192.0.2.1", 47, 0), workload.Ref{}, "shop/checkout:1")

	got := p.Snapshot()
	yaml, err := v1alpha1.Encode(&got, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: gabion.dev/v1alpha1
kind: Profile
metadata:
  name: checkout
  namespace: shop
spec:
  workloadKind: Container
  labels:
    app: checkout
  images:
    - reference: shop/checkout:1
      containers: 2
      firstSeen: 2026-11-24T10:00:00Z
      lastSeen: 2026-11-24T11:00:00Z
  containers: 2
  recentContainers: [aaaaaaaaaaaa, bbbbbbbbbbbb]
  firstSeen: 2026-11-24T10:00:00Z
  lastSeen: 2026-11-24T11:00:00Z
  processes:
    - path: /tmp/**
      parent: /usr/bin/node
      notInImage: true
      users: [0]
      count: 1
      firstSeen: 2026-11-24T10:00:00Z
      lastSeen: 2026-11-24T10:00:00Z
    - path: /usr/bin/node
      users: [0]
      count: 2
      firstSeen: 2026-11-24T10:00:00Z
      lastSeen: 2026-11-24T10:00:01Z
  egress:
    - address: 192.0.2.1
      port: udp/53
      count: 1
      firstSeen: 2026-11-24T10:00:00Z
      lastSeen: 2026-11-24T10:00:00Z
    - workload:
        namespace: data
        name: orders-db
      port: tcp/5432
      count: 2
      firstSeen: 2026-11-24T10:00:00Z
      lastSeen: 2026-11-24T10:00:00Z
  ingress:
    - workload:
        namespace: shop
        name: web
      port: tcp/8080
      count: 1
      firstSeen: 2026-11-24T10:00:00Z
      lastSeen: 2026-11-24T10:00:00Z
  truncated:
    egress: 1
`
	if diff := cmp.Diff(want, string(yaml)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	docs, errs := v1alpha1.Decode("p.yaml", yaml)
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	again, err := FromDocument(*docs[0].Object.(*v1alpha1.Profile))
	if err != nil {
		t.Fatal(err)
	}
	again.Container(workload.Container{ID: "aaaaaaaaaaaaaaaa", Workload: shop, Image: "shop/checkout:1"}, start)
	if diff := cmp.Diff(got, again.Snapshot()); diff != "" {
		t.Errorf("a profile loaded again differs (-want +got)\n%s", diff)
	}
}

func TestGeneralisePeers(t *testing.T) {
	p := New(shop)
	for i := range 40 {
		p.Observe(conn(event.NetworkAccept, fmt.Sprintf("198.51.%d.7", i), 6, 443), workload.Ref{}, "-")
		p.Observe(conn(event.NetworkConnect, fmt.Sprintf("203.0.113.%d", i), 6, 443), workload.Ref{}, "-")
		p.Observe(conn(event.NetworkConnect, "10.0.0.9", 6, uint16(40000+i)), db, "-")
		p.Observe(conn(event.NetworkConnect, fmt.Sprintf("2001:db8::%x", i+1), 17, 443), workload.Ref{}, "-")
	}
	var got []string
	spec := p.Snapshot().Spec
	for _, list := range [][]v1alpha1.LearnedPeer{spec.Ingress, spec.Egress} {
		for _, e := range list {
			got = append(got, fmt.Sprintf("%s %s %d", peerName(e), e.Port, e.Count))
		}
	}
	want := []string{
		"0.0.0.0/0 tcp/443 40",
		"2001:db8::/64 udp/443 40",
		"203.0.113.0/24 tcp/443 40",
		"w/data/orders-db tcp/32768-65535 40",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBound(t *testing.T) {
	p := New(shop)
	for i := range MaxProcesses + 10 {
		p.Observe(exec(fmt.Sprintf("/opt/p%d", i), "", true, 0), workload.Ref{}, "-")
		p.Observe(conn(event.NetworkConnect, "10.0.0.1", 6, uint16(1+i)), workload.Ref{}, "-")
	}
	p.Observe(exec("/opt/p0", "", true, time.Minute), workload.Ref{}, "-") // known: still counted
	spec := p.Snapshot().Spec
	if len(spec.Processes) != MaxProcesses || spec.Truncated == nil || spec.Truncated.Processes != 10 || spec.Truncated.Egress != 10 {
		t.Errorf("%d processes, truncated %+v", len(spec.Processes), spec.Truncated)
	}
}

func TestGeneralise(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/tmp.Xy12Ab9Q":            "/tmp/*",
		"/tmp/go-build1234567/b001/x":  "/tmp/**",
		"/tmp/app/8f3a91c25d/run":      "/tmp/app/**",
		"/tmp/install.sh":              "/tmp/install.sh",
		"/tmp/facade":                  "/tmp/facade",
		"/dev/shm/x":                   "/dev/shm/x",
		"/usr/lib/jvm/java-17-openjdk": "/usr/lib/jvm/java-17-openjdk",
		"/opt/8f3a91c25d/run":          "/opt/8f3a91c25d/run",
		"memfd:3f91ac02bd":             "memfd:*",
		"memfd:runc":                   "memfd:runc",
		"":                             "",
	} {
		if got := Generalise(path); got != want {
			t.Errorf("Generalise(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestFromDocumentRefuses(t *testing.T) {
	for name, doc := range map[string]v1alpha1.Profile{
		"port":    {Spec: v1alpha1.ProfileSpec{Egress: []v1alpha1.LearnedPeer{{Address: "10.0.0.1", Port: "443"}}}},
		"address": {Spec: v1alpha1.ProfileSpec{Ingress: []v1alpha1.LearnedPeer{{Address: "nowhere", Port: "tcp/1"}}}},
		"size":    {Spec: v1alpha1.ProfileSpec{Processes: make([]v1alpha1.LearnedProcess, MaxProcesses+1)}},
	} {
		if _, err := FromDocument(doc); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzGeneralise(f *testing.F) {
	f.Add("/tmp/abc123DEF/x")
	f.Fuzz(func(t *testing.T, path string) {
		once := Generalise(path)
		if twice := Generalise(once); twice != once {
			t.Errorf("%q becomes %q, then %q", path, once, twice)
		}
	})
}
