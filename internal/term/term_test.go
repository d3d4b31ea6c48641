package term

import (
	"bytes"
	"strings"
	"testing"
)

func TestTableIsPlainOffTerminal(t *testing.T) {
	var b bytes.Buffer
	New(&b).Table([]string{"NAME", "STATE"}, [][]Cell{{T("shop"), C(Bad, "blind")}, {T("a-much-longer-name"), C(Good, "ok")}})
	want := "NAME                STATE\nshop                blind\na-much-longer-name  ok\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestColourAndWidth(t *testing.T) {
	var b bytes.Buffer
	p := &Printer{W: &b, Colour: true, Width: 20}
	p.Table([]string{"N", "TEXT"}, [][]Cell{{C(Bad, "x"), T(strings.Repeat("y", 40))}})
	out := b.String()
	if !strings.Contains(out, "\x1b[31mx\x1b[0m") {
		t.Errorf("no red in %q", out)
	}
	if strings.Contains(out, strings.Repeat("y", 30)) || !strings.Contains(out, "…") {
		t.Errorf("last column not cut to the terminal: %q", out)
	}
}

func TestCleanTakesTerminalControlAway(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"a\x1b[2Jb":       "a\ufffd[2Jb",
		"two\nlines":      "two\ufffdlines",
		"\u009b31m c1":    "\ufffd31m c1",
		"übung\u2028next": "übung\ufffdnext",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;title\x07")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(Clean(s), "\x1b\n\r\x07\u009b") {
			t.Errorf("control characters survive in %q", Clean(s))
		}
	})
}
