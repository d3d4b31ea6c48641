package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func drawProfile(t *rapid.T) *v1alpha1.Profile {
	day := metav1.NewTime(someDay)
	p := &v1alpha1.Profile{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindProfile},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec:       v1alpha1.ProfileSpec{Containers: 3, FirstSeen: day, LastSeen: metav1.NewTime(someDay.Add(48 * time.Hour))},
	}
	for range rapid.IntRange(1, 6).Draw(t, "processes") {
		e := v1alpha1.LearnedProcess{
			Path:  rapid.SampledFrom([]string{"/usr/bin/node", "/bin/busybox", "/opt/a b/x", "/usr/local/bin/'q'", "/bin/bash", "/usr/bin/curl", "/usr/lib/git-core/git-log"}).Draw(t, "path"),
			Count: 1, FirstSeen: day, LastSeen: day,
		}
		e.Parent = rapid.SampledFrom([]string{"", "/usr/bin/node", "/bin/bash", "/bin/busybox", "node", "gone"}).Draw(t, "parent")
		e.Users = rapid.SampledFrom([][]uint32{nil, {0}, {101}, {0, 101}}).Draw(t, "users")
		e.Args = rapid.SampledFrom([][][]string{nil, {{}}, {{"-sf", "http://localhost:8080/healthz"}}, {{"-c", "*"}, {"--id=*", "**"}}}).Draw(t, "args")
		if e.Path == "/bin/busybox" {
			e.Applet = rapid.SampledFrom([]string{"", "sh", "wget", "ls"}).Draw(t, "applet")
		}
		p.Spec.Processes = append(p.Spec.Processes, e)
	}
	peers := func(label string) []v1alpha1.LearnedPeer {
		var out []v1alpha1.LearnedPeer
		for range rapid.IntRange(0, 5).Draw(t, label) {
			e := v1alpha1.LearnedPeer{
				Port:  rapid.SampledFrom([]v1alpha1.Port{"tcp/443", "tcp/5432", "udp/53", "icmp", "sctp", "tcp/32768-65535"}).Draw(t, "port"),
				Count: 1, FirstSeen: day, LastSeen: day,
			}
			if rapid.Bool().Draw(t, "known") {
				e.Workload = &v1alpha1.WorkloadPeer{
					Namespace: rapid.SampledFrom([]string{"shop", "data"}).Draw(t, "namespace"),
					Name:      rapid.SampledFrom([]string{"db", "front", "gone"}).Draw(t, "name"),
				}
			} else {
				e.Address = rapid.SampledFrom([]string{
					"192.0.2.1", "203.0.113.0/24", "2001:db8::1", "2001:db8::/64", "0.0.0.0/0", "169.254.169.254", "10.0.0.1",
				}).Draw(t, "address")
			}
			out = append(out, e)
		}
		return out
	}
	p.Spec.Egress, p.Spec.Ingress = peers("egress"), peers("ingress")
	if rapid.Bool().Draw(t, "many") {
		for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
			p.Spec.Processes = append(p.Spec.Processes, v1alpha1.LearnedProcess{Path: "/usr/lib/git-core/git-" + n, Count: 1, FirstSeen: day, LastSeen: day})
		}
	}
	for range rapid.IntRange(0, 5).Draw(t, "files") {
		p.Spec.Files = append(p.Spec.Files, v1alpha1.LearnedFile{
			Directory: rapid.SampledFrom([]string{"/etc", "/etc/nginx", "/", "/root", "/run/secrets/kubernetes.io/serviceaccount/**", "/usr/**", "/var/**", "/srv"}).Draw(t, "directory"),
			Program:   rapid.SampledFrom([]string{"/usr/bin/node", "/bin/busybox", "/tmp/**", ""}).Draw(t, "program"),
			Access: rapid.SampledFrom([]v1alpha1.AccessList{
				{v1alpha1.FileRead}, {v1alpha1.FileWrite, v1alpha1.FileAppend}, {v1alpha1.FileCreate}, {v1alpha1.FileRead, v1alpha1.FileChmod},
			}).Draw(t, "access"),
			Count: 1, FirstSeen: day, LastSeen: day,
		})
	}
	for range rapid.IntRange(0, 3).Draw(t, "capabilities") {
		p.Spec.Capabilities = append(p.Spec.Capabilities, v1alpha1.LearnedCapability{
			Name: rapid.SampledFrom([]string{"CHOWN", "SYS_ADMIN", "NET_RAW", "NET_BIND_SERVICE"}).Draw(t, "capability"), Program: "/usr/bin/node",
			Count: 1, FirstSeen: day, LastSeen: day,
		})
	}
	return p
}

// TestLearnedPolicyAllowsWhatWasSeen: whatever was learned of the image's own
// programs and of peers, the policy made of it blocks none of it, and says
// nothing that lint calls void.
func TestLearnedPolicyAllowsWhatWasSeen(t *testing.T) {
	containers := []workload.Container{
		{ID: "1", Name: "db", Workload: workload.Ref{Namespace: "data", Name: "db"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")}},
		{ID: "2", Name: "web", Workload: workload.Ref{Namespace: "shop", Name: "web"}},
	}
	node := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	rapid.Check(t, func(t *rapid.T) {
		p := drawProfile(t)
		opts := LearnOptions{Mode: v1alpha1.Protect, Node: node, Narrow: rapid.Bool().Draw(t, "narrow")}
		l, err := Learn(p, opts)
		if err != nil {
			t.Fatal(err)
		}
		set, errs := Load([]File{{"learned.yaml", l.YAML}})
		if len(errs) > 0 {
			t.Fatalf("%v\n%s", errs[0], l.YAML)
		}
		plan := set.Compile(&containers[1], someDay)
		f := Forecast(plan, Past{Profile: p, Containers: containers, Node: node})
		for _, i := range f.Items {
			// What a program does that may not run is noted, not allowed.
			by := i.What[strings.LastIndex(i.What, " ")+1:]
			if i.Kind != event.FileAccess || !slices.ContainsFunc(l.Notes, func(n string) bool { return strings.HasPrefix(n, strings.TrimSuffix(by, "x")) }) {
				t.Fatalf("%+v\n%s", f, l.YAML)
			}
		}
		for _, finding := range Lint(set, nil, someDay) {
			if !slices.Contains([]string{"allows-shell", "shadowed", "needs-lsm"}, finding.Code) {
				t.Fatalf("%s\n%s", finding, l.YAML)
			}
		}
		again, err := Learn(p, opts)
		if err != nil || string(again.YAML) != string(l.YAML) {
			t.Fatal("learned twice, two policies")
		}
	})
}

func TestLearnLeavesOutWhatCannotBeSeen(t *testing.T) {
	p := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	if _, err := Learn(p, LearnOptions{}); !errors.Is(err, ErrNothingLearned) {
		t.Errorf("error %v", err)
	}
	p.Spec.Processes = []v1alpha1.LearnedProcess{
		{Path: "/usr/bin/node", Count: 1}, {Path: "memfd:*", NotInImage: true, Count: 3, Parent: "/usr/bin/node"},
	}
	p.Spec.Truncated = &v1alpha1.ProfileTruncated{Processes: 5}
	l, err := Learn(p, LearnOptions{NoNetwork: true})
	if err != nil {
		t.Fatal(err)
	}
	if l.Policy.Spec.Network != nil || l.Policy.Spec.Mode != v1alpha1.Monitor {
		t.Errorf("policy %+v", l.Policy.Spec)
	}
	notes := strings.Join(l.Notes, "\n")
	if !strings.Contains(notes, "memfd:*, which the image does not have, ran 3 times") || !strings.Contains(notes, "not complete: 5 programs") {
		t.Errorf("notes: %s", notes)
	}
	if l, err = Learn(p, LearnOptions{NoProcess: true}); err != nil || l.Policy.Spec.Process != nil || l.Policy.Spec.Network == nil {
		t.Errorf("policy %+v, error %v", l.Policy.Spec, err)
	}
}

func TestForecastOfEvents(t *testing.T) {
	set, errs := Load([]File{{"p.yaml", []byte(`
apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: p, namespace: shop}
spec:
  selector: {}
  process: {drift: Deny, allow: [{path: /usr/bin/node}, {path: /tmp/tool}]}
  network: {egress: [{to: [{workload: {namespace: data, name: db}}], ports: [tcp/5432]}], ingress: []}
`)}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	c := workload.Container{Workload: workload.Ref{Namespace: "shop", Name: "web"}}
	db := workload.Container{Workload: workload.Ref{Namespace: "data", Name: "db"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")}}
	at := func(h int) time.Time { return someDay.Add(time.Duration(h) * time.Hour) }
	peer := func(addr string, port uint16) *event.Peer {
		return &event.Peer{Addr: netip.MustParseAddr(addr), Port: port, Protocol: "tcp"}
	}
	f := Forecast(set.Compile(&c, someDay), Past{
		Containers: []workload.Container{db},
		Events: []event.Event{
			{Kind: event.ProcessExec, Path: "/usr/bin/node", Count: 9, First: at(1), Last: at(2)},
			{Kind: event.ProcessExec, Path: "/usr/bin/curl", Count: 2, First: at(1), Last: at(2)},
			{Kind: event.ProcessExec, Path: "/usr/bin/curl", Count: 7, First: at(0), Last: at(3)},
			{Kind: event.ProcessDrift, Path: "/tmp/tool", Count: 1, Reasons: []string{"drift"}, First: at(1), Last: at(1)},
			{Kind: event.ProcessFileless, Path: "memfd:x", Count: 1, First: at(1), Last: at(1)},
			{Kind: event.ProcessExec, Path: "/bin/busybox", Evidence: map[string]string{"applet": "node"}, Count: 1, First: at(1), Last: at(1)},
			{Kind: event.NetworkConnect, Peer: peer("10.0.0.7", 5432), Count: 1, First: at(1), Last: at(1)},
			{Kind: event.NetworkConnect, Peer: peer("10.0.0.8", 5432), Count: 1, First: at(1), Last: at(1)},
			{Kind: event.NetworkAccept, Peer: &event.Peer{Addr: netip.MustParseAddr("10.0.0.7"), LocalPort: 80, Port: 40000, Protocol: "tcp"}, Count: 1, First: at(1), Last: at(1)},
			{Kind: event.ContainerStart, Count: 1, First: at(0), Last: at(0)},
			{Kind: event.NetworkConnect, Count: 1, First: at(1), Last: at(1)}, // without a peer: nothing to judge
		},
	})
	var got []string
	for _, i := range f.Items {
		got = append(got, fmt.Sprintf("%s %s %s x%d", i.Kind, i.What, strings.Join(i.Reasons, "+"), i.Count))
	}
	want := []string{
		"process.exec /usr/bin/curl not-listed x7",
		"process.exec /tmp/tool drift x1",
		"network.accept 10.0.0.7 on tcp/80 not-listed x1",
		"network.connect 10.0.0.8 on tcp/5432 not-listed x1",
		"process.exec memfd:x not-listed+fileless x1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if f.Judged != 8 || f.WouldBlock != 5 || !f.Since.Equal(at(0)) {
		t.Errorf("judged %d, blocked %d, since %v", f.Judged, f.WouldBlock, f.Since)
	}
	if raw, err := json.Marshal(f); err != nil || !strings.Contains(string(raw), `"wouldBlock":5`) {
		t.Errorf("JSON: %v %s", err, raw)
	}
	if f := Forecast(nil, Past{}); f.Ready || f.Judged != 0 {
		t.Errorf("without a plan: %+v", f)
	}
}

// TestUnified applies every difference to its old text and must get the new.
func TestUnified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "d\n"}), 0, 30).Draw(t, label), "")
		}
		before, after := text("before"), text("after")
		got, err := patch(before, unified(before, after))
		if err != nil || got != after {
			t.Fatalf("%v: got %q, want %q\n%s", err, got, after, unified(before, after))
		}
		if before == after && unified(before, after) != "" {
			t.Fatal("equal texts differ")
		}
	})
}

// patch is the reader of unified differences that the test holds them to.
func patch(text, diff string) (string, error) {
	lines := strings.SplitAfter(text, "\n")
	var out strings.Builder
	at := 0
	for l := range strings.Lines(diff) {
		switch l[0] {
		case '@':
			var from, olds, to, news int
			if _, err := fmt.Sscanf(l, "@@ -%d,%d +%d,%d @@", &from, &olds, &to, &news); err != nil {
				return "", err
			}
			if olds == 0 {
				from++
			}
			if written := strings.Count(out.String(), "\n") + from - 1 - at; news > 0 && written != to-1 {
				return "", fmt.Errorf("hunk %q is at line %d of the new text", l, written+1)
			}
			for ; at < from-1; at++ {
				out.WriteString(lines[at])
			}
		case ' ', '-':
			if at >= len(lines) || lines[at] != l[1:] {
				return "", fmt.Errorf("line %q does not fit at %d", l, at)
			}
			if l[0] == ' ' {
				out.WriteString(l[1:])
			}
			at++
		case '+':
			out.WriteString(l[1:])
		}
	}
	for ; at < len(lines); at++ {
		out.WriteString(lines[at])
	}
	return out.String(), nil
}

// TestMemory keeps a set small enough for a node: a thousand policies and the
// plans of 300 containers.
func TestMemory(t *testing.T) {
	many(t, 1) // what is read once stays out of the figure
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	set := many(t, 1000)
	containers := fleet(300)
	plans := make([]*Plan, len(containers))
	for i := range containers {
		plans[i] = set.Compile(&containers[i], someDay)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("1,000 policies and 300 plans keep %d KB", kept>>10)
	if kept > 24<<20 {
		t.Errorf("1,000 policies keep %d bytes", kept)
	}
	runtime.KeepAlive(set)
	runtime.KeepAlive(plans)
}
