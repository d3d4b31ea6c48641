package policy

import (
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
)

// more runs the commands about whole sets.
func (w *world) more(f []string) {
	switch f[0] {
	case "explain":
		w.printf("%s", Explain(w.set, w.containers[f[1]], w.now).Text())
	case "lint":
		var known []workload.Container
		if len(f) == 1 {
			known = w.known()
		}
		for _, finding := range Lint(w.set, known, w.now) {
			w.printf("%s\n", finding)
		}
	case "diff":
		before, after := w.quiet(f[1]), w.quiet(f[2])
		d, err := Diff(before, after, w.known(), w.now)
		if err != nil {
			w.t.Fatal(err)
		}
		w.printf("%s", d.Text())
		if d.Empty() {
			w.printf("no difference\n")
		}
	case "learn":
		l, err := Learn(w.profile(f[1]), LearnOptions{Node: w.node})
		if err != nil {
			w.printf("error: %v\n", err)
			return
		}
		w.printf("%s", l.YAML)
		w.files["learned.yaml"] = l.YAML
	case "forecast":
		p := Forecast(w.plan(f[1]), Past{Profile: w.profile(f[2]), Containers: w.known(), Node: w.node})
		for _, i := range p.Items {
			w.printf("would block %s %s (%s)%s, seen %d times\n", i.Kind, i.What, strings.Join(i.Reasons, "+"), by(i.Rule), i.Count)
		}
		for _, e := range p.Evidence {
			w.printf("%s: have %s, want %s: %v\n", e.Name, e.Have, e.Want, e.Met)
		}
		w.printf("%d judged, %d would be blocked, ready %v: %s\n", p.Judged, p.WouldBlock, p.Ready, p.Summary)
	case "file":
		p := w.plan(f[1])
		if p == nil || p.Files == nil {
			w.printf("nothing said\n")
			return
		}
		w.decision(p, p.Files.Mode, p.Files.Decide(FileUse{Access: parseAccess(f[2]), Path: f[3], Exec: parseExec(f[4:])}))
	case "capability":
		p := w.plan(f[1])
		n, ok := CapabilityNamed(f[2])
		if !ok {
			w.t.Fatalf("no capability %s", f[2])
		}
		w.decision(p, p.Capabilities.Mode, p.Capabilities.Decide(n))
	case "switch":
		p := w.plan(f[1])
		s, ok := SwitchNamed(f[2])
		if !ok {
			w.t.Fatalf("no switch %s", f[2])
		}
		w.decision(p, p.Hardening.Mode, p.Hardening.Decide(s, parseExec(f[3:])))
	default:
		w.t.Fatalf("unknown command %s", f[0])
	}
}

func (w *world) known() []workload.Container {
	known := []workload.Container{}
	for _, c := range w.order {
		known = append(known, *c)
	}
	return known
}

func (w *world) quiet(name string) *Set {
	set, errs := Load([]File{{name, w.files[name]}})
	if len(errs) > 0 {
		w.t.Fatal(fmt.Errorf("%s: %w", name, errs[0]))
	}
	return set
}

func (w *world) profile(name string) *v1alpha1.Profile {
	docs, errs := v1alpha1.Decode(name, w.files[name])
	if len(errs) > 0 {
		w.t.Fatal(errs[0])
	}
	return docs[0].Object.(*v1alpha1.Profile)
}
