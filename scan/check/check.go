// Package check judges the configuration of an image: its user, its build
// steps, its files' modes.
//
// It does not look for vulnerable packages or secrets. The one idea: what a
// check is called, why it matters and what to do is data (content/imagechecks),
// its judgement is one small function of the image and the inventory, and what
// the source could not tell is unknown, never passed.
package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/scan"
)

// Statuses of a check.
const (
	Pass    = "pass"
	Fail    = "fail"
	Unknown = "unknown"
)

// Bounds of what a check tells.
const (
	maxEvidence     = 20
	maxEvidenceText = 240 // bytes
)

// Judge applies every check, in the order of their ids. It repeats parts of
// the configuration as evidence: hand it an image that secret.Redact has been
// over. Secrets are those of inv, so those of the configuration belong there
// first. unseen names what nobody looked for although the source has it:
// "secrets", "files"; checks that need it do not pass. An error means that the
// binary was built from a broken tree.
func Judge(img scan.Image, inv scan.Inventory, unseen ...string) ([]scan.Check, error) {
	list, err := content.LoadImageChecks()
	if err != nil {
		return nil, err
	}
	lib, err := content.Load()
	if err != nil {
		return nil, err
	}
	s := &subject{img: &img, inv: &inv, lib: lib, unseen: unseen, steps: steps(img.Config.History)}
	out := make([]scan.Check, 0, len(list))
	for _, c := range list {
		judge := judges[c.ID]
		severity, ok := scan.ParseSeverity(c.Severity)
		if judge == nil || !ok {
			return nil, fmt.Errorf("judge %s: no such check, or severity %q", c.ID, c.Severity)
		}
		r := scan.Check{ID: c.ID, Title: c.Title, Severity: severity, Remedy: c.Remedy, Refs: slices.Clone(c.Refs), State: scan.Open}
		r.Status, r.Evidence = s.status(judge, c.Needs)
		out = append(out, r)
	}
	return out, nil
}

// subject is what is judged.
type subject struct {
	img    *scan.Image
	inv    *scan.Inventory
	lib    *content.Library
	unseen []string
	steps  []step
}

// answer is what a judge says: evidence of a failure, or why it cannot tell.
type answer struct {
	against []string
	unknown string
}

// status asks a judge. What speaks against an image does so even when not
// everything could be seen; only a pass needs everything.
func (s *subject) status(judge func(*subject) answer, needs []string) (string, []string) {
	a := judge(s)
	if len(a.against) > 0 {
		return Fail, bounded(a.against)
	}
	if a.unknown != "" {
		return Unknown, []string{a.unknown}
	}
	for _, n := range needs {
		if why := s.lacks(n); why != "" {
			return Unknown, []string{why}
		}
	}
	return Pass, nil
}

// lacks says why something is not known, or nothing.
func (s *subject) lacks(what string) string {
	if slices.Contains(s.unseen, what) {
		return "the scan did not look for " + what
	}
	switch what {
	case "config":
		if s.img.Kind == scan.Directory || s.img.Kind == scan.SBOM {
			return "a " + string(s.img.Kind) + " has no image configuration"
		}
	case "history":
		if why := s.lacks("config"); why != "" {
			return why
		}
		if len(s.steps) == 0 {
			return "the image has no history"
		}
	case "files", "secrets":
		if s.img.Kind == scan.SBOM {
			return "an SBOM does not hold the files"
		}
		if i := slices.IndexFunc(s.inv.Gaps, func(g scan.Gap) bool { return !g.Minor }); i >= 0 {
			return "not everything could be read: " + s.inv.Gaps[i].Where
		}
	case "name":
		if s.img.Kind != scan.Registry && s.img.Kind != scan.Daemon && s.img.Kind != scan.Container {
			return "a " + string(s.img.Kind) + " has no reference"
		}
	}
	return ""
}

// bounded sorts evidence and cuts it to what a person reads.
func bounded(list []string) []string {
	slices.Sort(list)
	list = slices.Compact(list)
	more := len(list) - maxEvidence
	if more > 0 {
		list = list[:maxEvidence]
	}
	for i, e := range list {
		if len(e) > maxEvidenceText {
			list[i] = strings.ToValidUTF8(e[:maxEvidenceText], "") + " ..."
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return list
}
