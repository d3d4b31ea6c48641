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

// minLast is how narrow the last column of a table may become before the
// others give way, minColumn how narrow those may become.
const (
	minLast   = 24
	minColumn = 12
)

// Table prints rows under a header, columns aligned by two spaces. On a
// terminal it fits the width: the last column goes on in the next line, under
// itself, and when little is left for it the widest of the others are cut.
// Elsewhere every row is one line and nothing is cut.
func (p *Printer) Table(header []string, rows [][]Cell) {
	head := make([]Cell, len(header))
	for i, h := range header {
		head[i] = C(Strong, "%s", h)
	}
	clean := [][]Cell{head}
	for _, row := range rows {
		cells := make([]Cell, len(header))
		for i := range min(len(row), len(header)) {
			cells[i] = Cell{Text: Clean(row[i].Text), Style: row[i].Style}
		}
		clean = append(clean, cells)
	}
	last := len(header) - 1
	widths := make([]int, len(header))
	for _, row := range clean {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.Text))
		}
	}
	p.fit(widths)
	for _, row := range clean {
		var b strings.Builder
		used := 0
		for i, c := range row[:last] {
			text := cut(c.Text, widths[i])
			b.WriteString(p.Paint(c.Style, text))
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+2))
			used += widths[i] + 2
		}
		p.Hang(b.String(), used, row[last])
	}
}

// fit makes the columns before the last one narrower until that has room.
func (p *Printer) fit(widths []int) {
	if p.Width <= 0 {
		return
	}
	last := len(widths) - 1
	over := min(widths[last], minLast) - p.Width
	for _, w := range widths[:last] {
		over += w + 2
	}
	for ; over > 0; over-- {
		widest := 0
		for i := range last {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if last == 0 || widths[widest] <= minColumn {
			return
		}
		widths[widest]--
	}
}

// Hang prints parts as one text behind margin, which is already painted and
// takes width columns. On a terminal the text is broken between words to fit
// and goes on under its own beginning; elsewhere it is one line.
func (p *Printer) Hang(margin string, width int, parts ...Cell) {
	avail := 0
	if p.Width > 0 {
		avail = max(p.Width-width, 8)
	}
	for i, line := range flow(parts, avail) {
		if i > 0 {
			margin = strings.Repeat(" ", width)
		}
		var b strings.Builder
		b.WriteString(margin)
		for j, c := range line {
			if j > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(p.Paint(c.Style, c.Text))
		}
		fmt.Fprintln(p.W, strings.TrimRight(b.String(), " "))
	}
}

// Wrap breaks text between words into lines of at most width columns. A word
// that is longer is broken too, after a slash, comma or colon where it has one. A width of 0
// breaks nothing.
func Wrap(text string, width int) []string {
	lines := flow([]Cell{T(text)}, width)
	out := make([]string, len(lines))
	for i, line := range lines {
		for _, c := range line {
			out[i] += c.Text
		}
	}
	return out
}

// flow lays parts out, one space between them, in lines of at most width
// columns; each line holds one cell per style that follows another.
func flow(parts []Cell, width int) [][]Cell {
	if width <= 0 {
		return [][]Cell{parts}
	}
	lines, used := [][]Cell{nil}, 0
	add := func(style Style, word string, fresh bool) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > width {
			lines, used = append(lines, nil), 0
		}
		line := &lines[len(lines)-1]
		switch k := len(*line) - 1; {
		case k >= 0 && !fresh && (*line)[k].Style == style:
			(*line)[k].Text += " " + word
			used += 1 + n
		case k >= 0:
			*line = append(*line, Cell{Text: word, Style: style})
			used += 1 + n
		default:
			*line = append(*line, Cell{Text: word, Style: style})
			used = n
		}
	}
	for _, part := range parts {
		for i, word := range strings.Fields(part.Text) {
			fresh := i == 0
			for utf8.RuneCountInString(word) > width {
				piece := breakWord(word, width)
				add(part.Style, piece, fresh)
				word, fresh = word[len(piece):], false
			}
			add(part.Style, word, fresh)
		}
	}
	return lines
}

// breakWord is the beginning of a word that is longer than width.
func breakWord(word string, width int) string {
	piece := string([]rune(word)[:width])
	if i := strings.LastIndexAny(piece, "/,:"); i >= len(piece)/2 {
		return piece[:i+1]
	}
	return piece
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
	return string(r[:max(width-1, 0)]) + "…"
}
