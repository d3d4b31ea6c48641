package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/registry"
)

// maxTold bounds the images of one sweep that have an event each for what
// failed; the rest is one event with the number.
const maxTold = 100

// maxNamed bounds identifiers and objects in the evidence of one event.
const maxNamed = 10

// about makes an event. Its cause is the image, what happened and the moment:
// each judgement is a happening of its own.
func (r *Room) about(kind event.Kind, sev event.Severity, image, message string, cause ...string) event.Event {
	now := r.d.Now().UTC()
	sum := sha256.Sum256([]byte(strings.Join(append([]string{r.cfg.Node, string(kind), image, now.String()}, cause...), "\x00")))
	return event.Event{ID: hex.EncodeToString(sum[:16]), Kind: kind, First: now, Last: now, Count: 1, Severity: sev,
		Message: message, Node: r.cfg.Node, Image: image, Actor: version.Name, Mechanism: "scan"}
}

func severityOf(s scan.Severity) event.Severity {
	switch s {
	case scan.Critical:
		return event.Critical
	case scan.High:
		return event.High
	case scan.Medium:
		return event.Medium
	case scan.Low, scan.Unknown:
		return event.Low
	}
	return event.Info
}

// open reports whether a state counts.
func open(s scan.State) bool { return s == scan.Open || s == scan.Unsupported || s == "" }

// tell records what a judgement found that the one before did not.
func (r *Room) tell(before, now *scan.Report, rec *record) {
	label := labelOf(rec)
	evidence := func(of []string) map[string]string {
		return map[string]string{"digest": rec.Digest, "database": rec.Database.Digest, "new": strconv.Itoa(len(of)),
			"first": strings.Join(of[:min(len(of), maxNamed)], ", ")}
	}
	had := openIDs(before)
	var gained []string
	worst := scan.Unknown
	exploited := 0
	for i := range now.Findings {
		f := &now.Findings[i]
		key := findingKey(now, f)
		if !open(f.State) || had[key] {
			continue
		}
		had[key] = true
		gained = append(gained, key)
		worst = max(worst, f.Severity)
		if f.KEV != nil {
			exploited++
		}
	}
	secrets := 0
	for _, s := range now.Secrets {
		if key := "secret " + s.Fingerprint + " in " + s.Where; open(s.State) && !had[key] {
			had[key] = true
			gained = append(gained, s.Detector+" in "+s.Where)
			worst = max(worst, s.Severity)
			secrets++
		}
	}
	if len(gained) > 0 {
		words := several(len(gained)-secrets, "vulnerability", "vulnerabilities")
		if secrets > 0 {
			words += " and " + several(secrets, "secret", "secrets")
		}
		msg := fmt.Sprintf("%s has %s it was not known to have, the worst is %s", label, words, worst)
		if exploited > 0 {
			msg += fmt.Sprintf("; %d known to be exploited", exploited)
		}
		e := r.about(event.ImageFindings, severityOf(worst), label, msg, rec.Digest)
		e.Evidence = evidence(gained)
		r.d.Record(e)
	}
	var broken []string
	for _, v := range now.Violations {
		if before == nil || !slices.Contains(before.Violations, v) {
			broken = append(broken, v.Rule+": "+v.Object)
		}
	}
	if len(broken) > 0 {
		e := r.about(event.ImageViolation, event.High, label,
			fmt.Sprintf("%s is beyond what %s allows: %s", label, orTargets(rec.Targets), broken[0]+more(len(broken)-1)), rec.Digest)
		e.Evidence = evidence(broken)
		r.d.Record(e)
	}
}

func findingKey(r *scan.Report, f *scan.Finding) string {
	if f.Package < 0 || f.Package >= len(r.Packages) {
		return f.ID
	}
	return f.ID + " in " + r.Packages[f.Package].Name
}

func openIDs(r *scan.Report) map[string]bool {
	out := map[string]bool{}
	if r == nil {
		return out
	}
	for i := range r.Findings {
		if open(r.Findings[i].State) {
			out[findingKey(r, &r.Findings[i])] = true
		}
	}
	for _, s := range r.Secrets {
		if open(s.State) {
			out["secret "+s.Fingerprint+" in "+s.Where] = true
		}
	}
	return out
}

// tellSweep records what a sweep could not examine.
func (r *Room) tellSweep(target string, sum registry.Summary) {
	told := 0
	tell := func(list []registry.Failure, what string) {
		for _, f := range list {
			if told++; told > maxTold {
				continue
			}
			e := r.about(event.ImageFailed, event.Medium, f.Ref, fmt.Sprintf("%s %s: %v", f.Ref, what, f.Err), target)
			e.Evidence = map[string]string{"target": target}
			r.d.Record(e)
		}
	}
	tell(sum.Failed, "could not be scanned")
	tell(sum.Incomplete, "could not be examined completely")
	if told > maxTold {
		e := r.about(event.ImageFailed, event.Medium, "", fmt.Sprintf("%d more images of ScanTarget %s could not be scanned completely", told-maxTold, target), target)
		e.Evidence = map[string]string{"target": target, "failed": strconv.Itoa(len(sum.Failed)), "incomplete": strconv.Itoa(len(sum.Incomplete))}
		r.d.Record(e)
	}
}

// tellTrouble records what keeps a whole registry from being followed.
func (r *Room) tellTrouble(target, registry string, err error) {
	e := r.about(event.ImageFailed, event.High, "", fmt.Sprintf("ScanTarget %s cannot do what it should with registry %s: %v", target, registry, err), target)
	e.Evidence = map[string]string{"target": target}
	r.d.Record(e)
}

// labelOf is what people call an image.
func labelOf(rec *record) string {
	if names := rec.names(); len(names) > 0 {
		return names[0]
	}
	return rec.Digest
}

func orTargets(list []string) string {
	if len(list) == 0 {
		return "its ScanTarget"
	}
	return "ScanTarget " + strings.Join(list, ", ")
}

func several(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}
