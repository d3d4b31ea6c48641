package report

import (
	"encoding/json"
	"io"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

const jsonName = "json"

// document is the report as JSON: its own fields and the outcome in words, so
// that a script need not know what makes a report incomplete.
type document struct {
	*scan.Report
	Result     string `json:"result"` // PASSED, FAILED, INCOMPLETE, "FAILED and INCOMPLETE"
	Incomplete bool   `json:"incomplete"`
}

func writeJSON(w io.Writer, r *scan.Report, _ Options) error {
	out := &indenter{w: w}
	if err := json.NewEncoder(out).Encode(document{Report: lists(r), Result: view.Result(r), Incomplete: r.Incomplete()}); err != nil {
		return err
	}
	return out.Flush()
}

// lists makes every list that a reader may rely on one, never null.
func lists(r *scan.Report) *scan.Report {
	c := *r
	if c.Packages == nil {
		c.Packages = []scan.Package{}
	}
	if c.Findings == nil {
		c.Findings = []scan.Finding{}
	}
	if c.Secrets == nil {
		c.Secrets = []scan.Secret{}
	}
	if c.Checks == nil {
		c.Checks = []scan.Check{}
	}
	if c.Violations == nil {
		c.Violations = []scan.Violation{}
	}
	if c.Gaps == nil {
		c.Gaps = []scan.Gap{}
	}
	return &c
}

// line is one line of NDJSON: its type and, under the name of the type, the
// thing itself.
type line map[string]any

// writeLines prints one object a line. The first has the type "report", the
// last "end" with the number of lines between them, so that a stream that was
// cut off is noticed. Findings carry their package whole.
func writeLines(w io.Writer, r *scan.Report, _ Options) error {
	e := json.NewEncoder(w)
	n := 0
	var err error
	put := func(kind string, v any, more line) {
		if err != nil {
			return
		}
		l := line{"type": kind, kind: v}
		for k, v := range more {
			l[k] = v
		}
		n++
		err = e.Encode(l)
	}
	put("report", map[string]any{
		"schema": r.Schema, "tool": r.Tool, "image": r.Image, "release": r.Release, "base": r.Base, "database": r.Database,
		"result": view.Result(r), "incomplete": r.Incomplete(),
	}, nil)
	each("gap", r.Gaps, put)
	each("violation", r.Violations, put)
	for i := range r.Findings {
		put("finding", &r.Findings[i], line{"package": view.Package(r, &r.Findings[i])})
	}
	each("secret", r.Secrets, put)
	each("check", r.Checks, put)
	each("step", r.Plan, put)
	each("package", r.Packages, put)
	each("licence", r.Licenses, put)
	each("signature", r.Signatures, put)
	each("file", r.Files, put)
	put("end", map[string]any{"lines": n - 1, "incomplete": r.Incomplete()}, nil)
	return err
}

func each[T any](kind string, list []T, put func(string, any, line)) {
	for i := range list {
		put(kind, &list[i], nil)
	}
}
