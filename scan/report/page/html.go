package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// HTML prints one file with everything in it. It has no script, loads nothing,
// and its policy allows its own style alone.
func HTML(w io.Writer, r *scan.Report) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"text":     func(s string) string { return view.Text(s, 400) },
		"cut":      func(n int, s string) string { return view.Text(s, n) },
		"join":     func(list []string) string { return view.Text(strings.Join(list, ", "), 400) },
		"layer":    func(i int) string { return view.Layer(r, i) },
		"number":   func(i int) int { return i + 1 },
		"counts":   view.Counts,
		"settled":  func(s scan.State, d *scan.Decision) string { return view.Text(view.Settled(s, d), 400) },
		"link":     view.Link,
		"date":     view.Date,
		"plural":   view.Plural,
		"place":    func(s scan.Secret) string { return view.Text(view.Where(&s), 400) },
		"names":    func(list []int) string { return names(r, list) },
		"severity": func() []scan.Severity { return view.Order() },
		"percent":  func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) },
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(pageCSS))
	var settled []*scan.Finding
	for i := range r.Findings {
		if f := &r.Findings[i]; !view.Counts(f.State) {
			settled = append(settled, f)
		}
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"R": r, "T": view.Total(r), "Result": view.Result(r), "Settled": settled,
		"Groups": view.Groups(r, func(f *scan.Finding) bool { return view.Counts(f.State) }),
		"Style":  template.CSS(pageCSS), // our own file
		// The hash allows exactly this style and nothing that got in.
		"Policy":  "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		"Package": func(f *scan.Finding) *scan.Package { return view.Package(r, f) },
	})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// names lists packages by their indices.
func names(r *scan.Report, list []int) string {
	var out []string
	for _, i := range list {
		if i >= 0 && i < len(r.Packages) {
			out = append(out, r.Packages[i].Name)
		}
	}
	return view.Text(strings.Join(out, ", "), 400)
}
