package profile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
	"github.com/google/go-cmp/cmp"
)

func TestGeneraliseArgs(t *testing.T) {
	for in, want := range map[string]string{
		"-sf http://localhost:8080/healthz":                       "-sf http://localhost:8080/healthz",
		"--port=8080 -n5 -4":                                      "--port=8080 -n5 -4",
		"--id 3f2504e0-4f89-11d3-9a0c-0305e82c3301":               "--id *",
		"--trace=9f86d081884c7d65":                                "--trace=*",
		"/tmp/build-8f3a91c2/run":                                 "/tmp/*",
		"-o /tmp/tmp.Xy12Ab9Q":                                    "-o /tmp/*",
		"--since 2026-11-24 --at 1764000000":                      "--since * --at *",
		"--log=/var/log/app-20261124.log":                         "--log=/var/log/*.log",
		"-uroot --password hunter2 -h db":                         "-uroot --password * -h db",
		"--api-key=abc --token=x":                                 "--api-key=* --token=*",
		"postgres://app:secret@db:5432/orders":                    "postgres://*@db:5432/orders",
		"--feedface decade":                                       "--feedface decade",
		"a ** b":                                                  "a * b",
		"--password -v":                                           "--password -v",
		strings.Repeat("x", 200):                                  strings.Repeat("x", 64) + "*",
		strings.TrimSpace(strings.Repeat("a ", maxArgs+3)):        strings.Repeat("a ", maxArgs) + "**",
		"worker-3f2504e04f8911d3 user@example.org key=0123456789": "worker-* user@example.org key=*",
	} {
		got := GeneraliseArgs(strings.Split(in, " "))
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", in, strings.Join(got, " "), want)
		}
		if again := GeneraliseArgs(got); !slices.Equal(again, got) {
			t.Errorf("%q: twice gives %q", in, again)
		}
	}
}

func TestVariantsOfArguments(t *testing.T) {
	p := New(shop)
	for i := range 9 {
		o := exec("/usr/bin/curl", "", true, 0)
		o.Process.Args = []string{"curl", "-sf", fmt.Sprintf("http://localhost:%d/healthz", 8080+i)}
		if i == 8 {
			o.Process.Args = append(o.Process.Args, "-v")
		}
		o.Process.UID = uint32(i % 2)
		p.Observe(o, workload.Ref{}, "a")
	}
	outside := exec("/usr/bin/curl", "runc", true, 0)
	outside.Process.Args, outside.Signals = []string{"curl", "-sf", "http://localhost:1/healthz"}, []string{"from-outside"}
	p.Observe(outside, workload.Ref{}, "a")
	if n := len(p.Snapshot().Spec.Processes); n != 1 {
		t.Fatalf("%d entries: what comes from outside has many names", n)
	}
	e := p.Snapshot().Spec.Processes[0]
	if want := [][]string{{"-sf", "http://localhost:*"}, {"-sf", "http://localhost:8088/healthz", "-v"}}; !cmp.Equal(e.Args, want) {
		t.Errorf("args %q, want %q", e.Args, want)
	}
	if !slices.Equal(e.Users, []uint32{0, 1}) {
		t.Errorf("users %v", e.Users)
	}
}

func use(dir, program, operation string) guard.Observation {
	return guard.Observation{Kind: event.FileAccess, Time: start, Path: dir, Operation: operation, Process: event.Process{Exe: program}}
}

func TestFilesAndCapabilities(t *testing.T) {
	p := New(shop)
	const token = "/run/secrets/kubernetes.io/serviceaccount"
	for _, o := range []guard.Observation{
		use(token+"/..2026_11_24_10_00_00.123", "/app", "Read"),
		use(token, "/app", "Read"),
		use("/etc", "/app", "Read"),
		use("/etc", "/bin/sh", "Write, Append"),
		use("/proc/4711/fd", "/app", "Read"), use("/proc/1/fd", "/app", "Read"),
		use("/srv", "/app", "Delete"),
		use("", "/app", "Read"), use("/x", "/app", "Fly"),
		{Kind: event.CapabilityUse, Time: start, Operation: "CAP_NET_BIND_SERVICE", Process: event.Process{Exe: "/app"}},
		{Kind: event.CapabilityUse, Time: start, Operation: "CHOWN", Process: event.Process{Exe: "/app"}},
	} {
		p.Observe(o, workload.Ref{}, "a")
	}
	for i := range 20 {
		p.Observe(use(fmt.Sprintf("/data/shard-%d", i), "/app", "Create"), workload.Ref{}, "a")
	}
	spec := p.Snapshot().Spec
	var got []string
	for _, f := range spec.Files {
		got = append(got, fmt.Sprintf("%s %s %s", f.Directory, f.Program, f.Access))
	}
	want := []string{
		"/data/** /app [Create]", "/etc /app [Read]", "/etc /bin/sh [Write Append]", "/proc/** /app [Read]",
		token + "/** /app [Read]", "/srv /app [Delete]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(spec.Capabilities) != 2 || spec.Capabilities[1].Name != "NET_BIND_SERVICE" {
		t.Errorf("capabilities %+v", spec.Capabilities)
	}
	if spec.Truncated == nil || spec.Truncated.Files != 2 {
		t.Errorf("truncated %+v", spec.Truncated)
	}
}

func TestImagesOfEntries(t *testing.T) {
	p := New(shop)
	old := workload.Container{ID: "aaaaaaaaaaaaaaaa", Image: "shop:1", ImageDigest: "sha256:" + strings.Repeat("1", 64)}
	now := workload.Container{ID: "bbbbbbbbbbbbbbbb", Image: "shop:2", ImageDigest: "sha256:" + strings.Repeat("2", 64)}
	p.Container(old, start)
	p.Observe(exec("/bin/a", "", true, 0), workload.Ref{}, ImageKey(&old))
	p.Observe(exec("/bin/both", "", true, 0), workload.Ref{}, ImageKey(&old))
	p.Container(now, start.Add(time.Hour))
	p.Observe(exec("/bin/both", "", true, 0), workload.Ref{}, ImageKey(&now))
	p.Observe(exec("/bin/b", "", true, 0), workload.Ref{}, ImageKey(&now))
	spec := p.Snapshot().Spec
	got := map[string][]string{}
	for _, e := range spec.Processes {
		got[e.Path] = e.Images
	}
	want := map[string][]string{"/bin/a": {"111111111111"}, "/bin/b": {"222222222222"}, "/bin/both": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if spec.Images[0].Containers != 1 || spec.Images[1].Containers != 1 || !spec.Images[0].LastSeen.Time.Equal(start) || !spec.Images[1].FirstSeen.Time.Equal(start.Add(time.Hour)) {
		t.Errorf("images %+v", spec.Images)
	}
	if p.Runs(now, start.Add(90*time.Minute)) || !p.Runs(now, start.Add(3*time.Hour)) || p.Runs(old, start.Add(time.Minute)) {
		t.Error("that an image still runs is noted once an hour")
	}
	if got := p.Snapshot().Spec.Images[1].LastSeen; !got.Time.Equal(start.Add(3 * time.Hour)) {
		t.Errorf("last seen %v", got)
	}
	again, err := FromDocument(p.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Snapshot(), again.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	a, b := New(shop), New(shop)
	c1 := workload.Container{ID: "aaaaaaaaaaaaaaaa", Image: "shop:1", Labels: map[string]string{"app": "x", "pod": "1"}}
	c2 := workload.Container{ID: "bbbbbbbbbbbbbbbb", Image: "shop:1", Labels: map[string]string{"app": "x", "pod": "2"}}
	a.Container(c1, start)
	b.Container(c1, start)
	b.Container(c2, start.Add(time.Hour))
	for range 3 {
		a.Observe(exec("/bin/x", "", true, 0), workload.Ref{}, ImageKey(&c1))
	}
	b.Observe(exec("/bin/x", "", true, time.Hour), workload.Ref{}, ImageKey(&c2))
	b.Observe(conn(event.NetworkConnect, "10.0.0.9", 6, 5432), db, ImageKey(&c2))
	b.Observe(use("/etc", "/bin/x", "Read"), workload.Ref{}, ImageKey(&c2))
	a.Observe(use("/etc", "/bin/x", "Append"), workload.Ref{}, ImageKey(&c1))
	got, err := Merge(a.Snapshot(), b.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	s := got.Spec
	if s.Containers != 2 || s.Labels["app"] != "x" || s.Labels["pod"] != "" || len(s.Images) != 1 || s.Images[0].Containers != 2 {
		t.Errorf("%+v", s)
	}
	if len(s.Processes) != 1 || s.Processes[0].Count != 4 || !s.Processes[0].LastSeen.Time.Equal(start.Add(time.Hour)) || len(s.Egress) != 1 {
		t.Errorf("%+v", s)
	}
	if len(s.Files) != 1 || !slices.Equal(s.Files[0].Access, v1alpha1.AccessList{v1alpha1.FileRead, v1alpha1.FileAppend}) {
		t.Errorf("files %+v", s.Files)
	}
	other := b.Snapshot()
	other.Name = "other"
	if _, err := Merge(a.Snapshot(), other); err == nil {
		t.Error("profiles of two workloads were merged")
	}
}

func TestMergeKeepsTheBound(t *testing.T) {
	a, b := New(shop), New(shop)
	for i := range MaxProcesses {
		a.Observe(exec(fmt.Sprintf("/bin/a%04d", i), "", true, 0), workload.Ref{}, "a")
		b.Observe(exec(fmt.Sprintf("/bin/b%04d", i), "", true, 0), workload.Ref{}, "a")
		b.Observe(exec(fmt.Sprintf("/bin/b%04d", i), "", true, 0), workload.Ref{}, "a")
	}
	got, err := Merge(a.Snapshot(), b.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Spec.Processes) != MaxProcesses || got.Spec.Truncated == nil || got.Spec.Truncated.Processes != MaxProcesses || got.Spec.Processes[0].Path != "/bin/b0000" {
		t.Errorf("%d processes, first %s, truncated %+v", len(got.Spec.Processes), got.Spec.Processes[0].Path, got.Spec.Truncated)
	}
}

// FuzzMerge makes two profiles of arbitrary bytes and holds Merge to what it
// promises: no order, no loss within the bounds, and a document that can be
// merged again and changes nothing when it is merged with nothing.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("ab"), []byte("ba"))
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"), []byte("0123456789abcdef"))
	f.Add([]byte(strings.Repeat("xyz", 60)), []byte{})
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, b := fromBytes(x), fromBytes(y)
		ab, err := Merge(a, b)
		if err != nil {
			t.Fatal(err)
		}
		ba, err := Merge(b, a)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ab, ba); diff != "" {
			t.Fatalf("the order matters: %s", diff)
		}
		none, err := Merge(ab, New(shop).Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ab.Spec.Processes, none.Spec.Processes); diff != "" {
			t.Fatalf("merging with nothing changes: %s", diff)
		}
		for _, e := range slices.Concat(a.Spec.Processes, b.Spec.Processes) {
			i := slices.IndexFunc(ab.Spec.Processes, func(o v1alpha1.LearnedProcess) bool {
				return o.Path == e.Path && o.Applet == e.Applet && o.Parent == e.Parent && o.NotInImage == e.NotInImage
			})
			if i < 0 {
				t.Fatalf("%s is lost", e.Path)
			}
			for _, args := range e.Args {
				if !slices.ContainsFunc(ab.Spec.Processes[i].Args, func(h []string) bool { return argsInclude(h, args) }) {
					t.Fatalf("%s: %q is not in %q", e.Path, args, ab.Spec.Processes[i].Args)
				}
			}
		}
		text, err := v1alpha1.Encode(&ab, nil)
		if err != nil {
			t.Fatal(err)
		}
		if docs, errs := v1alpha1.Decode("p.yaml", text); len(errs) > 0 || len(docs) != 1 {
			t.Fatalf("%v\n%s", errs, text)
		}
	})
}

func fromBytes(raw []byte) v1alpha1.Profile {
	p := New(shop)
	word := func(i int, list ...string) string { return list[int(raw[i%len(raw)])%len(list)] }
	for i := range raw {
		c := workload.Container{
			ID: word(i, "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"), Image: word(i+1, "shop:1", "shop:2", ""),
			Labels: map[string]string{"app": word(i+2, "x", "y"), word(i, "a", "b"): "1"},
		}
		p.Container(c, start.Add(time.Duration(raw[i])*time.Minute))
		o := exec(word(i, "/bin/a", "/bin/b", "/tmp/build-8f3a91c2/run", "memfd:x"), word(i+1, "", "/bin/a", "sh"), raw[i]%3 > 0, time.Duration(i)*time.Second)
		o.Process.Args = []string{"x", word(i+1, "-a", "-b", "--id=3f2504e04f89"), word(i+2, "1", "http://h:1/x", "http://h:2/x", "**"), word(i+3, "p", "q", "r", "")}
		o.Process.Args = o.Process.Args[:1+int(raw[i])%4]
		o.Process.UID = uint32(raw[i])
		p.Observe(o, workload.Ref{}, ImageKey(&c))
		p.Observe(use(word(i, "/etc", "/data/a", "/data/b", "/proc/12"), word(i+1, "/bin/a", "/bin/b"), word(i+2, "Read", "Write, Append")), workload.Ref{}, ImageKey(&c))
		p.Observe(guard.Observation{Kind: event.CapabilityUse, Time: start, Operation: word(i, "CHOWN", "KILL"), Process: o.Process}, workload.Ref{}, ImageKey(&c))
		p.Observe(conn(event.NetworkConnect, word(i, "192.0.2.1", "192.0.2.2", "10.0.0.9"), 6, uint16(raw[i])*256+1), workload.Ref{}, ImageKey(&c))
		p.Observe(conn(event.NetworkAccept, word(i+1, "192.0.2.1", "2001:db8::1"), 17, 53), db, ImageKey(&c))
	}
	return p.Snapshot()
}
