package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"strings"
	"text/template"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/page"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// writeTemplate runs a template of the user's over the report. There are
// functions to write text safely into other formats, none that reach out of
// the report.
func writeTemplate(w io.Writer, r *scan.Report, o Options) error {
	if strings.TrimSpace(o.Template) == "" {
		return errors.New("no template: name a file with --template")
	}
	t, err := template.New("report").Option("missingkey=error").Funcs(functions(r)).Parse(o.Template)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

// functions are those of a template, besides Go's own.
func functions(r *scan.Report) template.FuncMap {
	return template.FuncMap{
		// of the report
		"result":     func() string { return view.Result(r) },
		"incomplete": r.Incomplete,
		"totals":     func() view.Totals { return view.Total(r) },
		"package":    func(f scan.Finding) *scan.Package { return view.Package(r, &f) },
		"layer":      func(i int) string { return view.Layer(r, i) },
		"open": func(list []scan.Finding) []scan.Finding {
			var out []scan.Finding
			for _, f := range list {
				if view.Counts(f.State) {
					out = append(out, f)
				}
			}
			return out
		},
		"atLeast": func(word string, s scan.Severity) (bool, error) {
			least, ok := scan.ParseSeverity(word)
			if !ok {
				return false, fmt.Errorf("atLeast: no severity %q", word)
			}
			return s >= least, nil
		},
		// of text
		"text":     func(s string) string { return view.Text(s, 0) },
		"cut":      func(n int, s string) string { return view.Text(s, max(n, 1)) },
		"html":     func(s string) string { return html.EscapeString(view.Text(s, 0)) },
		"markdown": page.Escape,
		"csv":      csvField,
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"join":  func(sep string, list []string) string { return strings.Join(list, sep) },
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"date":  view.Date,
	}
}

// csvField quotes a field, and keeps spreadsheets from taking it for a formula.
func csvField(s string) string {
	s = view.Text(s, 0)
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		s = "'" + s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}
