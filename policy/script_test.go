package policy

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected output of testdata/*.txt")

// TestScripts runs testdata/*.txt: an archive of policy files (*.yaml), a
// script, and the output it must have ("want"). -update rewrites want.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, p := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(p), ".txt"), func(t *testing.T) {
			ar, err := txtar.ParseFile(p)
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t: t, files: map[string][]byte{}, containers: map[string]*workload.Container{}}
			want, script := -1, ""
			for i, f := range ar.Files {
				switch {
				case f.Name == "want":
					want = i
				case f.Name == "script":
					script = string(f.Data)
				default:
					w.files[f.Name] = f.Data
				}
			}
			if want < 0 {
				t.Fatal("no file named want")
			}
			for line := range strings.SplitSeq(script, "\n") {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					fmt.Fprintf(&w.out, "> %s\n", line)
					w.run(strings.Fields(line))
				}
			}
			if *update {
				ar.Files[want].Data = []byte(w.out.String())
				if err := os.WriteFile(p, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(ar.Files[want].Data), w.out.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// world is what a script acts on.
type world struct {
	t          *testing.T
	out        strings.Builder
	files      map[string][]byte
	set        *Set
	containers map[string]*workload.Container
	order      []*workload.Container
	now        time.Time
	node       []netip.Addr
}

func (w *world) Addresses(s WorkloadSelector) []netip.Addr {
	var out []netip.Addr
	for _, c := range w.order {
		if s.Matches(c) {
			out = append(out, c.Addresses...)
		}
	}
	return out
}

func (w *world) NodeAddresses() []netip.Addr { return w.node }

func (w *world) printf(format string, args ...any) { fmt.Fprintf(&w.out, format, args...) }

func (w *world) run(f []string) {
	switch f[0] {
	case "load":
		w.load(f[1:])
	case "now":
		now, err := time.Parse(time.RFC3339, f[1])
		if err != nil {
			w.t.Fatal(err)
		}
		w.now = now
	case "node":
		w.node = append(w.node, netip.MustParseAddr(f[1]))
	case "container":
		w.container(f[1:])
	case "plan":
		p := w.plan(f[1])
		if p == nil {
			w.printf("no policy\n")
			return
		}
		raw, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			w.t.Fatal(err)
		}
		w.printf("%s\n", raw)
	case "exec":
		w.exec(f[1:])
	case "connect", "accept":
		w.conn(f)
	case "same-plan":
		a, b := w.plan(f[1]), w.plan(f[2])
		w.printf("%v\n", a.ID == b.ID)
	case "expiry":
		next, ok := w.set.NextExpiry(w.now)
		w.printf("%v %v\n", ok, next.Format(time.RFC3339))
	default:
		w.more(f)
	}
}

func (w *world) load(names []string) {
	if len(names) == 0 {
		for n := range w.files {
			if strings.HasSuffix(n, ".yaml") {
				names = append(names, n)
			}
		}
		slices.Sort(names)
	}
	w.set = w.parse(names)
}

func (w *world) parse(names []string) *Set {
	var files []File
	for _, n := range names {
		data, ok := w.files[n]
		if !ok {
			w.t.Fatalf("no file %s", n)
		}
		files = append(files, File{n, data})
	}
	set, errs := Load(files)
	for _, d := range set.Documents() {
		w.printf("%s\n", v1alpha1.ID(d.Object))
	}
	for _, err := range errs {
		dup := ""
		if errors.Is(err, ErrDuplicate) {
			dup = " [duplicate]"
		}
		w.printf("error: %v%s\n", err, dup)
	}
	return set
}

func (w *world) container(f []string) {
	c := &workload.Container{ID: f[0], Name: f[0], Labels: map[string]string{}}
	c.Workload = workload.Ref{Namespace: "shop", Name: f[0], Kind: "Container"}
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "namespace":
			c.Workload.Namespace = v
		case "workload":
			c.Workload.Name = v
		case "image":
			c.Image = v
		case "sa":
			c.ServiceAccount = v
		case "addr":
			c.Addresses = append(c.Addresses, netip.MustParseAddr(v))
		default:
			c.Labels[k] = v
		}
	}
	w.containers[f[0]] = c
	w.order = append(w.order, c)
}

func (w *world) plan(name string) *Plan {
	c, ok := w.containers[name]
	if !ok {
		w.t.Fatalf("no container %s", name)
	}
	return w.set.Compile(c, w.now)
}

func (w *world) exec(f []string) {
	p := w.plan(f[0])
	if p == nil || p.Process == nil {
		w.printf("nothing said\n")
		return
	}
	w.decision(p, p.Process.Mode, p.Process.Decide(parseExec(f[1:])))
}

func parseExec(f []string) Exec {
	e := Exec{Path: f[0], InImage: true}
	for _, o := range f[1:] {
		switch {
		case o == "dropped":
			e.InImage = false
		case o == "changed":
			e.Changed = true
		case o == "fileless":
			e.Fileless, e.InImage = true, false
		case strings.HasPrefix(o, "as="):
			e.Applet = o[3:]
		case strings.HasPrefix(o, "parent="):
			e.Parent = o[7:]
		case strings.HasPrefix(o, "script="):
			e.Script = o[7:]
		case strings.HasPrefix(o, "user="):
			n, _ := strconv.ParseUint(o[5:], 10, 32)
			e.UID = uint32(n)
		default:
			e.Args = append(e.Args, o)
		}
	}
	return e
}

func (w *world) conn(f []string) {
	p := w.plan(f[1])
	if p == nil || p.Network == nil {
		w.printf("nothing said\n")
		return
	}
	c := Conn{Ingress: f[0] == "accept", Peer: netip.MustParseAddr(f[2])}
	proto, port, hasPort := strings.Cut(f[3], "/")
	ranges, err := v1alpha1.Port(proto).Ranges()
	if err != nil {
		w.t.Fatal(err)
	}
	c.Protocol = ranges[0].Protocol
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Port = uint16(n)
	}
	w.decision(p, p.Network.Mode, p.Network.Decide(c, w))
}

func (w *world) decision(p *Plan, mode v1alpha1.Mode, d Decision) {
	verdict := "allow"
	if d.Deny {
		verdict = "deny (" + d.Reasons.String() + ")"
	}
	w.printf("%s%s [%s]\n", verdict, by(p.Rules[d.Rule]), mode)
}

func by(r event.RuleRef) string {
	if r.Policy == "" {
		return ""
	}
	return fmt.Sprintf(" by %s %s at %s:%d", r.Policy, r.Field, r.File, r.Line)
}
