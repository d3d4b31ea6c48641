package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// A guardedPlace is where files lie that an intruder wants to read or change.
type guardedPlace struct {
	dir    string
	access v1alpha1.AccessList // what is guarded
	why    string
}

// places are those that a learned policy speaks of, when it is known who uses
// files.
func places() []guardedPlace {
	return []guardedPlace{
		{"/run/secrets/kubernetes.io/serviceaccount", v1alpha1.AccessList{v1alpha1.FileRead}, "the token speaks to the cluster's API"},
		{"/var/run/secrets/kubernetes.io/serviceaccount", v1alpha1.AccessList{v1alpha1.FileRead}, "the token speaks to the cluster's API"},
		{"/root/.ssh", v1alpha1.AccessList{v1alpha1.FileRead, v1alpha1.FileWrite}, "keys, and who may sign in by one"},
		{"/etc", v1alpha1.AccessList{v1alpha1.FileWrite}, "users, sudo, cron, preloaded libraries"},
		{"/usr", v1alpha1.AccessList{v1alpha1.FileWrite}, "programs and libraries"},
		{"/var/spool/cron", v1alpha1.AccessList{v1alpha1.FileWrite}, "what is started by the clock"},
	}
}

// files guards the places that matter: only the programs that were seen at it
// may use them, nobody when there was none.
func (l *learner) files() []v1alpha1.FileRule {
	if len(l.profile.Spec.Files) == 0 {
		return nil // nobody could see it
	}
	var out []v1alpha1.FileRule
	for _, p := range places() {
		guarded := accessesOf(p.access)
		var by []string
		nameless := false
		for i := range l.profile.Spec.Files {
			e := &l.profile.Spec.Files[i]
			if accessesOf(e.Access)&guarded == 0 || !meets(e.Directory, p.dir) {
				continue
			}
			names := l.allowedAs(e.Program)
			if len(names) == 0 && (l.opts.NoProcess || e.Program == "") {
				nameless = true
			} else if len(names) == 0 {
				l.note("%s, which no rule lets run, uses files in %s.", e.Program, e.Directory)
			}
			by = append(by, names...)
		}
		slices.Sort(by)
		by = slices.Compact(by)
		if nameless || len(by) > v1alpha1.MaxBy {
			l.note("a rule for %s: too many programs use it, or some that have no path.", p.dir)
			continue
		}
		r := v1alpha1.FileRule{Path: p.dir, Access: p.access, Recursive: true, By: by, Reason: p.why}
		if len(by) == 0 {
			if p.dir == "/var/run/secrets/kubernetes.io/serviceaccount" {
				continue // the same as below /run, in nearly every image
			}
			r.Action = v1alpha1.Deny
			l.comments[at("spec.files", len(out))] = "nobody was seen to do it"
		}
		out = append(out, r)
	}
	return out
}

// allowedAs gives the names by which the process section lets a program run;
// of a multi-call program, those of the links that were used.
func (l *learner) allowedAs(program string) []string {
	var out []string
	for i := range l.profile.Spec.Processes {
		e := &l.profile.Spec.Processes[i]
		if e.Path != program || e.NotInImage {
			continue
		}
		name := e.Path
		if e.Applet != "" {
			name = path.Join(path.Dir(e.Path), e.Applet)
		}
		if _, _, err := v1alpha1.ParsePath(name); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// meets reports whether a learned directory may hold files that lie below dir.
func meets(learned, dir string) bool {
	within := func(a, b string) bool { return a == b || b == "/" || strings.HasPrefix(a, b+"/") }
	if wide, ok := strings.CutSuffix(learned, "/**"); ok {
		if wide == "" {
			wide = "/"
		}
		return within(wide, dir) || within(dir, wide)
	}
	// Uses of the directory itself are told of as uses in its parent.
	return within(learned, dir) || learned == path.Dir(dir)
}

// capabilities allows those that were seen.
func (l *learner) capabilities() *v1alpha1.CapabilitiesSpec {
	if len(l.profile.Spec.Capabilities) == 0 {
		return nil // nobody could see it, or nothing was used; either is no proof
	}
	by := map[string][]string{}
	for _, c := range l.profile.Spec.Capabilities {
		if _, ok := CapabilityNamed(c.Name); !ok {
			l.note("the capability %q, which has no name here.", c.Name)
			continue
		}
		by[c.Name] = append(by[c.Name], path.Base(c.Program))
	}
	spec := &v1alpha1.CapabilitiesSpec{Allow: []string{}}
	var words []string
	for _, name := range Capabilities() {
		if programs := by[name]; len(programs) > 0 {
			spec.Allow = append(spec.Allow, name)
			slices.Sort(programs)
			words = append(words, name+" by "+some(slices.Compact(programs)))
		}
	}
	l.comments["spec.capabilities.allow"] = strings.Join(words, "; ")
	return spec
}

// neededFor are the switches that a capability is for: what uses the one would be
// stopped by the other.
func neededFor() map[string][]Switch {
	return map[string][]Switch{
		"SYS_ADMIN":       {SwitchMount, SwitchBPF, SwitchPerf, SwitchKernelInterfaces, SwitchHandleOpen, SwitchDevices, SwitchNamespaces},
		"BPF":             {SwitchBPF},
		"PERFMON":         {SwitchPerf, SwitchBPF},
		"SYS_MODULE":      {SwitchModules},
		"SYS_BOOT":        {SwitchKexec},
		"MKNOD":           {SwitchDevices},
		"SYS_RAWIO":       {SwitchDevices},
		"DAC_READ_SEARCH": {SwitchHandleOpen},
		"SYSLOG":          {SwitchKernelLog},
		"NET_ADMIN":       {SwitchKernelInterfaces, SwitchBPF},
		"NET_RAW":         {SwitchRawSockets},
		"SYS_CHROOT":      {SwitchChroot},
		"SYS_PTRACE":      {SwitchPtrace, SwitchProcessRead, SwitchUserfaultfd},
	}
}

// hardening takes the preset that ordinary images do not notice, without what
// the capabilities seen are for, and adds what no capability was used for.
func (l *learner) hardening() *v1alpha1.HardeningSpec {
	if len(l.profile.Spec.Capabilities) == 0 {
		return nil
	}
	used := map[Switch]string{}
	for _, c := range l.profile.Spec.Capabilities {
		for _, s := range neededFor()[c.Name] {
			used[s] = c.Name
		}
	}
	spec := &v1alpha1.HardeningSpec{Preset: v1alpha1.Baseline}
	for _, s := range Switches() {
		by, isUsed := used[s.Switch]
		switch {
		case s.Preset == v1alpha1.Baseline && isUsed:
			l.comments[at("spec.hardening.allow", len(spec.Allow))] = "may be needed: " + by + " was used"
			spec.Allow = append(spec.Allow, s.Name)
		case s.Preset == v1alpha1.Restricted && !isUsed && (s.Switch == SwitchRawSockets || s.Switch == SwitchChroot):
			// These want a capability, and it was not used.
			spec.Deny = append(spec.Deny, s.Name)
		}
	}
	l.comments["spec.hardening"] = fmt.Sprintf("%s is stricter: nothing proves yet that it does no harm.\nTry it with mode: Monitor and look at the forecast.", v1alpha1.Restricted)
	return spec
}
