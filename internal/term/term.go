// Package term prints for people: tables and colour on a terminal, plain text
// elsewhere.
//
// The one idea: a Printer knows once whether its writer is a terminal and
// whether colour is wanted (NO_COLOR, TERM=dumb), and everything printed goes
// through it, so that scripts never meet an escape sequence. Text that comes
// from outside is cleaned of control characters before it reaches a terminal.
package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	xterm "golang.org/x/term"
)

// Style is a meaning that a colour stands for; the text always says it too.
type Style int

// Styles.
const (
	Plain Style = iota
	Good
	Warn
	Bad
	Faint
	Strong
)

var codes = [...]string{Plain: "", Good: "32", Warn: "33", Bad: "31", Faint: "2", Strong: "1"}

// Printer writes to one stream.
type Printer struct {
	W      io.Writer
	Colour bool
	Width  int // columns of the terminal; 0 when it is none
}

// New looks at w: colour and width are set only for a terminal, and colour only
// when the environment does not refuse it.
func New(w io.Writer) *Printer {
	p := &Printer{W: w}
	f, ok := w.(*os.File)
	if !ok || !xterm.IsTerminal(int(f.Fd())) {
		return p
	}
	p.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if cols, _, err := xterm.GetSize(int(f.Fd())); err == nil {
		p.Width = cols
	}
	return p
}

// Paint wraps s in the style's colour when colour is on.
func (p *Printer) Paint(style Style, s string) string {
	if !p.Colour || codes[style] == "" || s == "" {
		return s
	}
	return "\x1b[" + codes[style] + "m" + s + "\x1b[0m"
}

// Printf prints one formatted text.
func (p *Printer) Printf(format string, args ...any) { fmt.Fprintf(p.W, format, args...) }

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
}

// C makes a cell.
func C(style Style, format string, args ...any) Cell {
	if len(args) == 0 {
		return Cell{Text: format, Style: style}
	}
	return Cell{Text: fmt.Sprintf(format, args...), Style: style}
}

// T makes an unstyled cell.
func T(s string) Cell { return Cell{Text: s} }

// Table prints rows under a header, columns aligned by two spaces. On a
// terminal the last column is cut to the width; elsewhere nothing is cut.
func (p *Printer) Table(header []string, rows [][]Cell) {
	widths := make([]int, len(header))
	for i, h := range header {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i := range row {
			row[i].Text = Clean(row[i].Text)
			if i < len(widths) {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
			}
		}
	}
	head := make([]Cell, len(header))
	for i, h := range header {
		head[i] = Cell{Text: h, Style: Strong}
	}
	for _, row := range append([][]Cell{head}, rows...) {
		var b strings.Builder
		used := 0
		for i, c := range row {
			text := c.Text
			last := i == len(row)-1
			if last && p.Width > 0 && p.Width-used > 8 {
				text = cut(text, p.Width-used)
			}
			b.WriteString(p.Paint(c.Style, text))
			if !last {
				pad := widths[i] - utf8.RuneCountInString(text) + 2
				b.WriteString(strings.Repeat(" ", pad))
				used += widths[i] + 2
			}
		}
		fmt.Fprintln(p.W, strings.TrimRight(b.String(), " "))
	}
}

// Clean replaces control characters (escape sequences, line breaks) so that
// text from a container cannot write on the reader's terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '\ufffd'
		}
		return r
	}, s)
}

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:width-1]) + "…"
}
