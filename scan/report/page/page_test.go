package page

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain words, 1.2.3":  "plain words, 1.2.3",
		"<img src=x>":         `&lt;img src\=x&gt;`,
		"[a](b) *c* _d_ `e`":  `\[a\]\(b\) \*c\* \_d\_ ` + "\\`e\\`",
		"a|b":                 `a\|b`,
		"@everyone":           "@<!-- -->everyone",
		"https://evil.test":   "https:<!-- -->//evil.test",
		"www.evil.test":       "www<!-- -->.evil.test",
		"# head\n- list":      "\\# head\ufffd- list",
		"$x$ {{y}} ~~z~~ a&b": `\$x\$ \{\{y\}\} \~\~z\~\~ a&amp;b`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	for in, want := range map[string]string{
		"x": "`x`", "a`b": "`` a`b ``", "``": "``` `` ```", "a|b": "`a\\|b`", "": "", "  ": "", "`": "`` ` ``",
	} {
		if got := code(in); got != want {
			t.Errorf("code(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzMarkdown: whatever a name is, it stays in its cell and its code span.
func FuzzMarkdown(f *testing.F) {
	f.Add(sample.Hostile)
	f.Add("|`|``|")
	f.Add("\\|")
	f.Fuzz(func(t *testing.T, s string) {
		r := sample.Clean()
		r.Packages[0].Name, r.Packages[0].Version = s, "1"
		r.Findings = []scan.Finding{{Advisory: scan.Advisory{ID: "CVE-1"}, State: scan.Open, Reasons: []string{s}, Fix: s}}
		var b bytes.Buffer
		if err := Markdown(&b, r, true); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if !strings.Contains(line, "CVE-1") {
				continue
			}
			cells := strings.Count(line, "|") - strings.Count(line, `\|`)
			if cells != 8 || !strings.HasSuffix(line, " |\n") {
				t.Fatalf("%d bars in %q", cells, line)
			}
			return
		}
		t.Fatal("the finding is not listed")
	})
}

// TestMarkdownIsBounded: hosts refuse long comments.
func TestMarkdownIsBounded(t *testing.T) {
	r := sample.Report()
	for i := range 5000 {
		r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: fmt.Sprintf("CVE-2024-%04d", i)}, State: scan.Open, Reasons: []string{strings.Repeat("long ", 100)}})
	}
	var b bytes.Buffer
	if err := Markdown(&b, r, false); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 60<<10 || !strings.Contains(b.String(), "more are not shown here") {
		t.Errorf("%d bytes", b.Len())
	}
}

// TestHTMLText: hostile text arrives as text, the policy allows our style.
func TestHTMLText(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, sample.Report()); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	if !strings.Contains(out, "&lt;script&gt;alert(1)&lt;/script&gt;") || strings.Contains(out, "<script>") {
		t.Error("the hostile text is not escaped")
	}
	if strings.Contains(out, "ZgotmplZ") {
		t.Error("the template met a context it refuses")
	}
	if strings.Count(out, "<style>") != 1 || !strings.Contains(out, "style-src &#39;sha256-") {
		t.Error("the style is not the one the policy allows")
	}
	for _, want := range []string{`lang="en"`, "<title>FAILED and INCOMPLETE", `scope="col"`, `role="alert"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s: assistive programs need it", want)
		}
	}
}
