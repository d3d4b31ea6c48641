package ci

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// The part of GitLab's report for container scanning, schema 15, that is
// written.
type (
	gitlabReport struct {
		Version         string                `json:"version"`
		Scan            gitlabScan            `json:"scan"`
		Vulnerabilities []gitlabVulnerability `json:"vulnerabilities"`
	}
	gitlabScan struct {
		Analyzer gitlabTool      `json:"analyzer"`
		Scanner  gitlabTool      `json:"scanner"`
		Start    string          `json:"start_time"`
		End      string          `json:"end_time"`
		Status   string          `json:"status"`
		Type     string          `json:"type"`
		Messages []gitlabMessage `json:"messages,omitempty"`
	}
	gitlabTool struct {
		ID      string       `json:"id"`
		Name    string       `json:"name"`
		Version string       `json:"version"`
		Vendor  gitlabVendor `json:"vendor"`
	}
	gitlabVendor struct {
		Name string `json:"name"`
	}
	gitlabMessage struct {
		Level string `json:"level"`
		Value string `json:"value"`
	}
	gitlabVulnerability struct {
		ID          string             `json:"id"`
		Name        string             `json:"name"`
		Description string             `json:"description"`
		Severity    string             `json:"severity"`
		Solution    string             `json:"solution,omitempty"`
		Identifiers []gitlabIdentifier `json:"identifiers"`
		Links       []gitlabLink       `json:"links,omitempty"`
		Location    gitlabLocation     `json:"location"`
	}
	gitlabIdentifier struct {
		Type  string `json:"type"`
		Name  string `json:"name"`
		Value string `json:"value"`
		URL   string `json:"url,omitempty"`
	}
	gitlabLink struct {
		URL string `json:"url"`
	}
	gitlabLocation struct {
		Dependency gitlabDependency `json:"dependency"`
		System     string           `json:"operating_system"`
		Image      string           `json:"image"`
	}
	gitlabDependency struct {
		Package gitlabPackage `json:"package"`
		Version string        `json:"version"`
	}
	gitlabPackage struct {
		Name string `json:"name"`
	}
)

// GitLab prints the open findings. The format wants times: they are those of
// the database, so that equal reports stay equal. A report with gaps is a scan
// that failed, with a message for each.
func GitLab(w io.Writer, r *scan.Report) error {
	name, version, _ := strings.Cut(cmp.Or(r.Tool, "gabion"), " ")
	tool := gitlabTool{ID: "gabion", Name: name, Version: cmp.Or(version, "unknown"), Vendor: gitlabVendor{"Gabion"}}
	at := r.Database.Built
	if at.IsZero() {
		at = r.Image.Config.Created
	}
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	when := at.UTC().Format("2006-01-02T15:04:05")
	out := gitlabReport{Version: "15.0.7", Vulnerabilities: []gitlabVulnerability{},
		Scan: gitlabScan{Analyzer: tool, Scanner: tool, Start: when, End: when, Status: "success", Type: "container_scanning"}}
	if r.Incomplete() {
		out.Scan.Status = "failure"
	}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		m := gitlabMessage{Level: "fatal", Value: "INCOMPLETE: " + clean(gapText(g))}
		if g.Minor {
			m = gitlabMessage{Level: "info", Value: clean(gapText(g))}
		}
		out.Scan.Messages = append(out.Scan.Messages, m)
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; view.Counts(f.State) {
			out.Vulnerabilities = append(out.Vulnerabilities, gitlabFinding(r, f))
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func gitlabFinding(r *scan.Report, f *scan.Finding) gitlabVulnerability {
	p := view.Package(r, f)
	id := view.Identity(f.ID, p.Ecosystem, p.Name, p.Path)
	v := gitlabVulnerability{
		// Version 8 of RFC 9562: a UUID of one's own making.
		ID:       fmt.Sprintf("%s-%s-8%s-8%s-%s", id[:8], id[8:12], id[12:15], id[15:18], id[18:30]),
		Name:     view.Text(f.ID+" in "+p.Name, 255),
		Severity: gitlabSeverity(f.Severity),
		Location: gitlabLocation{
			Dependency: gitlabDependency{Package: gitlabPackage{clean(p.Name)}, Version: clean(p.Version)},
			System:     clean(cmp.Or(strings.TrimSpace(r.Release.ID+" "+r.Release.Version), "unknown")),
			Image:      clean(cmp.Or(r.Image.Name, "unknown")),
		},
	}
	v.Description = fmt.Sprintf("%s in %s %s", clean(cmp.Or(f.Summary, f.ID)), clean(p.Name), clean(p.Version))
	if len(f.Reasons) > 0 {
		v.Description += fmt.Sprintf(". Priority %d of 100: %s", f.Priority, clean(strings.Join(f.Reasons, ", ")))
	}
	if p.Path != "" {
		v.Description += ". Found in " + clean(p.Path)
	}
	if f.Fix != "" {
		v.Solution = clean(fmt.Sprintf("Upgrade %s from %s to %s", p.Name, p.Version, f.Fix))
	}
	for _, name := range append([]string{named(f.ID)}, f.Aliases...) {
		name = clean(name)
		kind, _, _ := strings.Cut(strings.ToLower(name), "-")
		if name == "" || kind == "" {
			continue
		}
		i := gitlabIdentifier{Type: kind, Name: name, Value: name}
		if name == f.ID {
			i.URL = view.Link(f.URL)
		}
		v.Identifiers = append(v.Identifiers, i)
	}
	if u := view.Link(f.URL); u != "" {
		v.Links = []gitlabLink{{u}}
	}
	return v
}

func gitlabSeverity(s scan.Severity) string {
	switch s {
	case scan.Critical:
		return "Critical"
	case scan.High:
		return "High"
	case scan.Medium:
		return "Medium"
	case scan.Low:
		return "Low"
	case scan.Negligible:
		return "Info"
	}
	return "Unknown"
}
