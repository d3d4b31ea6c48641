package term

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTableIsPlainOffTerminal(t *testing.T) {
	var b bytes.Buffer
	New(&b).Table([]string{"NAME", "STATE"}, [][]Cell{{T("shop"), C(Bad, "blind")}, {T("a-much-longer-name"), C(Good, "ok")}})
	want := "NAME                STATE\nshop                blind\na-much-longer-name  ok\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestTableFitsTerminal(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    Printer
		head []string
		row  []Cell
		want string
	}{
		{"last column goes on under itself", Printer{Width: 30}, []string{"N", "TEXT"}, []Cell{T("x"), T("a program that no list names was stopped")},
			"N  TEXT\nx  a program that no list\n   names was stopped\n"},
		{"colour stays within its line", Printer{Width: 14, Colour: true}, []string{"N", "T"}, []Cell{C(Bad, "x"), C(Warn, "one two three")},
			"\x1b[1mN\x1b[0m  \x1b[1mT\x1b[0m\n\x1b[31mx\x1b[0m  \x1b[33mone two\x1b[0m\n   \x1b[33mthree\x1b[0m\n"},
		{"the widest of the others gives way", Printer{Width: 44}, []string{"NAME", "STATE", "BY"}, []Cell{T("a-namespace/with-a-long-name"), T("enforced"), T("raw_tp+kill cgroup/connect tcx")},
			"NAME          STATE     BY\na-namespace…  enforced  raw_tp+kill\n                        cgroup/connect tcx\n"},
		{"an empty last cell", Printer{Width: 20}, []string{"A", "B"}, []Cell{T("x"), T("")}, "A  B\nx\n"},
		{"a row with too few cells", Printer{}, []string{"A", "B"}, []Cell{T("x")}, "A  B\nx\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.p.W = &b
			tt.p.Table(tt.head, [][]Cell{tt.row})
			if b.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
}

func TestHangKeepsStylesApart(t *testing.T) {
	var b bytes.Buffer
	p := &Printer{W: &b, Colour: true, Width: 16}
	p.Hang("  - ", 4, T("stopped a miner"), C(Faint, "[T1496 T1059]"))
	want := "  - stopped a\n    miner \x1b[2m[T1496\x1b[0m\n    \x1b[2mT1059]\x1b[0m\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
	b.Reset()
	(&Printer{W: &b}).Hang("  - ", 4, T("two  spaces stay"), T("here"))
	if want := "  - two  spaces stay here\n"; b.String() != want {
		t.Errorf("off a terminal: got %q, want %q", b.String(), want)
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  []string
	}{
		{"one two three", 0, []string{"one two three"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 13, []string{"one two three"}},
		{"", 5, []string{""}},
		{"abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"/run/k3s/containerd.sock", 12, []string{"/run/k3s/", "containerd.s", "ock"}},
		{"größer als früher", 7, []string{"größer", "als", "früher"}},
	} {
		if got := Wrap(tt.text, tt.width); !slices.Equal(got, tt.want) {
			t.Errorf("Wrap(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("the program /usr/bin/xmrig was stopped", 9)
	f.Fuzz(func(t *testing.T, s string, width int) {
		if width < 1 || width > 200 || !utf8.ValidString(s) {
			return
		}
		lines := Wrap(s, width)
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width {
				t.Errorf("line %q is wider than %d", l, width)
			}
		}
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if got := squeeze(strings.Join(lines, "")); got != squeeze(s) {
			t.Errorf("text changed: %q from %q", got, s)
		}
	})
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
