// Package ci prints a report for build systems and code hosts: SARIF, JUnit,
// GitLab's container scanning report and GitHub's workflow annotations.
//
// It is not for people to read. The one idea: each of these formats has a place
// for "the scan itself did not go well", and gaps go there, so that a host
// never shows an incomplete scan as a clean one.
package ci

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// The part of SARIF 2.1.0 (OASIS) that is written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		ColumnKind  string            `json:"columnKind"`
		Properties  map[string]any    `json:"properties,omitempty"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID         string         `json:"id"`
		Name       string         `json:"name"`
		Short      sarifText      `json:"shortDescription"`
		Full       sarifText      `json:"fullDescription"`
		HelpURI    string         `json:"helpUri,omitempty"`
		Help       sarifText      `json:"help"`
		Default    sarifLevel     `json:"defaultConfiguration"`
		Properties map[string]any `json:"properties"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   map[string]any     `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
		Message  *sarifText     `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
)

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// maxText bounds one text; hosts refuse or cut longer ones.
const maxText = 1000

func clean(s string) string { return view.Text(s, maxText) }

// named is for what a format wants to be there.
func named(s string) string { return cmp.Or(clean(s), "unknown") }

// sarif collects one run.
type sarif struct {
	r     *scan.Report
	run   sarifRun
	rules map[string]int
}

// SARIF prints findings, secrets and failed checks as results. What decisions
// have settled is left out unless all is set, since some hosts show suppressed
// results as open ones. A report with gaps is an unsuccessful invocation.
func SARIF(w io.Writer, r *scan.Report, all bool) error {
	name, version, _ := strings.Cut(cmp.Or(r.Tool, "gabion"), " ")
	s := &sarif{r: r, rules: map[string]int{}, run: sarifRun{
		Tool:        sarifTool{sarifDriver{Name: name, Version: version, InformationURI: "https://gabion.dev", Rules: []sarifRule{}}},
		Invocations: []sarifInvocation{{Successful: !r.Incomplete()}}, Results: []sarifResult{}, ColumnKind: "utf16CodeUnits",
		Properties: map[string]any{"image": clean(r.Image.Name), "digest": r.Image.Digest, "result": view.Result(r), "database": r.Database.Digest},
	}}
	for i := range r.Findings {
		if f := &r.Findings[i]; all || view.Counts(f.State) {
			s.finding(f)
		}
	}
	for i := range r.Secrets {
		if x := &r.Secrets[i]; all || view.Counts(x.State) {
			s.secret(x)
		}
	}
	for i := range r.Checks {
		if c := &r.Checks[i]; c.Status == "fail" && (all || view.Counts(c.State)) {
			s.check(c)
		}
	}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		n := sarifNotification{Level: "error", Message: sarifText{Text: "INCOMPLETE: " + clean(gapText(g))}}
		if g.Minor {
			n = sarifNotification{Level: "note", Message: sarifText{Text: clean(gapText(g))}}
		}
		s.run.Invocations[0].Notifications = append(s.run.Invocations[0].Notifications, n)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{s.run}})
}

// gapText says a gap in one sentence.
func gapText(g *scan.Gap) string {
	s := g.Where + ": " + g.What
	for _, more := range []string{g.Means, g.Do} {
		if more != "" {
			s += "; " + more
		}
	}
	return s
}

func level(s scan.Severity) string {
	switch s {
	case scan.Critical, scan.High:
		return "error"
	case scan.Medium, scan.Unknown: // not knowing is no reason to whisper
		return "warning"
	}
	return "note"
}

// rule gives the index of a rule, making it when it is new.
func (s *sarif) rule(id string, make func() sarifRule) int {
	if i, ok := s.rules[id]; ok {
		return i
	}
	i := len(s.run.Tool.Driver.Rules)
	s.rules[id] = i
	s.run.Tool.Driver.Rules = append(s.run.Tool.Driver.Rules, make())
	return i
}

func (s *sarif) finding(f *scan.Finding) {
	p := view.Package(s.r, f)
	id := named(f.ID)
	index := s.rule(id, func() sarifRule {
		short := id + " (" + f.Severity.String() + ")"
		full := clean(cmp.Or(f.Summary, short))
		props := map[string]any{"tags": []string{"security", "vulnerability", f.Severity.String()}, "precision": "very-high"}
		if n := view.Score(f); n > 0 {
			props["security-severity"] = fmt.Sprintf("%.1f", n)
		}
		help := fmt.Sprintf("%s: %s. Severity %s", id, full, f.Severity)
		if f.CVSS != "" {
			help += ", " + clean(f.CVSS)
		}
		if f.KEV != nil {
			help += ". Exploitation has been seen (CISA KEV)"
		}
		if len(f.Aliases) > 0 {
			help += ". Also known as " + clean(strings.Join(f.Aliases, ", "))
		}
		return sarifRule{ID: id, Name: "Vulnerability", Short: sarifText{Text: short}, Full: sarifText{Text: full},
			HelpURI: view.Link(f.URL), Help: sarifText{Text: help + "."}, Default: sarifLevel{level(f.Severity)}, Properties: props}
	})
	message := fmt.Sprintf("%s in %s %s", id, clean(p.Name), clean(p.Version))
	if f.Fix != "" {
		message += ", fixed in " + clean(f.Fix)
	} else {
		message += ", no fix is known"
	}
	if len(f.Reasons) > 0 {
		message += fmt.Sprintf(" (priority %d: %s)", f.Priority, clean(strings.Join(f.Reasons, ", ")))
	}
	s.add(index, id, f.Severity, message, p.Path, 1, p.Layer, f.State, f.Decision,
		map[string]any{"priority": f.Priority, "package": clean(p.PURL)}, f.ID, p.Ecosystem, p.Name, p.Path)
}

func (s *sarif) secret(x *scan.Secret) {
	id := "secret/" + named(x.Detector)
	index := s.rule(id, func() sarifRule {
		return sarifRule{ID: id, Name: "Secret", Short: sarifText{Text: named(x.Title)}, Full: sarifText{Text: named(x.Title) + " in an image"},
			Help:       sarifText{Text: "Withdraw the secret: everyone who can pull the image has it. Then build the image without it; deleting it in a later layer does not help."},
			Default:    sarifLevel{level(x.Severity)},
			Properties: map[string]any{"tags": []string{"security", "secret"}, "security-severity": fmt.Sprintf("%.1f", view.Nominal(x.Severity))}}
	})
	message := fmt.Sprintf("%s: %s", clean(x.Title), clean(x.Masked))
	if x.Deleted {
		message += ", deleted by a later layer but still to be pulled"
	}
	s.add(index, id, x.Severity, message, x.Where, max(x.Line, 1), x.Layer, x.State, x.Decision, nil, x.Detector, x.Fingerprint, x.Where)
}

func (s *sarif) check(c *scan.Check) {
	id := named(c.ID)
	index := s.rule(id, func() sarifRule {
		return sarifRule{ID: id, Name: "ImageConfiguration", Short: sarifText{Text: named(c.Title)},
			Full: sarifText{Text: named(strings.Join(append([]string{c.Title}, c.Refs...), "; "))},
			Help: sarifText{Text: named(cmp.Or(c.Remedy, c.Title))}, Default: sarifLevel{level(c.Severity)},
			Properties: map[string]any{"tags": []string{"security", "configuration"}, "security-severity": fmt.Sprintf("%.1f", view.Nominal(c.Severity))}}
	})
	message := "Failed: " + clean(c.Title)
	if len(c.Evidence) > 0 {
		message += " (" + clean(strings.Join(c.Evidence, ", ")) + ")"
	}
	s.add(index, id, c.Severity, message, "image-configuration", 1, -1, c.State, c.Decision, nil, c.ID)
}

func (s *sarif) add(index int, id string, severity scan.Severity, message, path string, line, layer int, state scan.State, d *scan.Decision, props map[string]any, identity ...string) {
	res := sarifResult{
		RuleID: id, RuleIndex: index, Level: level(severity), Message: sarifText{Text: message},
		Locations: []sarifLocation{{
			Physical: sarifPhysical{Artifact: sarifArtifact{uri(path)}, Region: sarifRegion{line}},
			Logical:  []sarifLogical{{Name: clean(cmp.Or(s.r.Image.Name, "image") + ":" + path), Kind: "resource"}},
		}},
		Fingerprints: map[string]string{
			"gabion/v1":               view.Identity(identity...)[:32],
			"primaryLocationLineHash": view.Identity(identity...)[:16] + ":1",
		},
		Properties: props,
	}
	if l := view.Layer(s.r, layer); l != "" {
		res.Locations[0].Message = &sarifText{Text: l}
	}
	if !view.Counts(state) {
		res.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: clean(view.Settled(state, d))}}
	}
	s.run.Results = append(s.run.Results, res)
}

// uri is a path as a relative reference that stays one.
func uri(path string) string {
	path = strings.TrimLeft(view.Text(path, 0), "/")
	if path == "" {
		path = "image"
	}
	if r := []rune(path); len(r) > maxText {
		path = string(r[:maxText])
	}
	return (&url.URL{Path: path}).String() // "./" before what looks like a scheme
}
