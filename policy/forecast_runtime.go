package policy

import (
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
)

// parseAccess reads words for a use as events have them, one or several.
func parseAccess(words string) Access {
	var list v1alpha1.AccessList
	for _, w := range strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || r == ',' || r == '|' || r == '+' }) {
		list = append(list, v1alpha1.AccessWord(w))
	}
	return usesOf(list)
}

// runtimeEvent judges an event about files, capabilities or hardening.
func (f *forecaster) runtimeEvent(e *event.Event) {
	operation := e.Evidence["operation"]
	by := Exec{InImage: true, Applet: e.Evidence["applet"]}
	if e.Process != nil {
		by.Path, by.UID = e.Process.Exe, e.Process.UID
	}
	switch e.Kind {
	case event.FileAccess:
		p := e.Path
		if e.Effect == event.Observed && !strings.HasSuffix(p, "/") {
			// What was observed is the directory of some file.
			p = strings.TrimSuffix(p, "/") + "/x"
		}
		f.fileUse(p, operation, by, e.Count, e.Last)
	case event.CapabilityUse:
		f.capability(operation, e.Count, e.Last)
	case event.Hardening:
		f.hardening(operation, by, e.Count, e.Last)
	}
}

// fileUse judges the use of a file, given by the words of the language.
func (f *forecaster) fileUse(p, words string, by Exec, count uint64, last time.Time) {
	access := parseAccess(words)
	if f.plan == nil || f.plan.Files == nil || p == "" || access == 0 {
		return
	}
	what := access.String() + " of " + p + " by " + by.Path
	f.judged(event.FileAccess, what, f.plan.Files.Decide(FileUse{Path: p, Access: access, Exec: by}), count, last)
}

func (f *forecaster) capability(name string, count uint64, last time.Time) {
	n, ok := CapabilityNamed(name)
	if f.plan == nil || f.plan.Capabilities == nil || !ok {
		return
	}
	f.judged(event.CapabilityUse, CapabilityName(n), f.plan.Capabilities.Decide(n), count, last)
}

func (f *forecaster) hardening(name string, by Exec, count uint64, last time.Time) {
	s, ok := SwitchNamed(name)
	if f.plan == nil || f.plan.Hardening == nil || !ok {
		return
	}
	f.judged(event.Hardening, name+" by "+by.Path, f.plan.Hardening.Decide(s, by), count, last)
}
