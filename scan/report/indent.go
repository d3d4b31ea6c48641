package report

import (
	"bytes"
	"io"
)

// indenter lays out the JSON that is written to it, two spaces a step, as
// json.Indent does, and passes it on in pieces. What it is given is valid and
// has no spaces outside of texts, as encoding/json writes it. It exists because
// a report of a large image is a megabyte, and json.Encoder looks at every byte
// of it twice more and holds it three times to do this.
type indenter struct {
	w       io.Writer
	out     []byte // not yet passed on
	depth   int
	text    bool // within a text
	escaped bool // right behind a backslash in it
	opened  bool // right behind a bracket that opens
}

// pieceSize is from where laid out JSON is passed on, in bytes.
const pieceSize = 32 << 10

// Write implements io.Writer. See Flush.
func (d *indenter) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if d.text {
			i += d.inText(p[i:])
		} else {
			d.between(p[i])
			i++
		}
		if len(d.out) >= pieceSize {
			if err := d.Flush(); err != nil {
				return i, err
			}
		}
	}
	return len(p), nil
}

// Flush passes on what Write has kept.
func (d *indenter) Flush() error {
	_, err := d.w.Write(d.out)
	d.out = d.out[:0]
	return err
}

// inText takes of p what is text up to its end or a backslash.
func (d *indenter) inText(p []byte) (taken int) {
	if d.escaped {
		d.escaped = false
		d.out = append(d.out, p[0])
		return 1
	}
	n := bytes.IndexByte(p, '"') + 1
	if n == 0 {
		n = len(p)
	} else {
		d.text = false
	}
	if i := bytes.IndexByte(p[:n], '\\'); i >= 0 {
		n, d.text, d.escaped = i+1, true, true
	}
	d.out = append(d.out, p[:n]...)
	return n
}

// between takes a byte outside of texts.
func (d *indenter) between(c byte) {
	closes := c == '}' || c == ']'
	if closes {
		d.depth--
	}
	if d.opened != closes { // nothing between them stays on the line
		d.line()
	}
	d.opened = false
	d.out = append(d.out, c)
	switch c {
	case '"':
		d.text = true
	case '{', '[':
		d.depth++
		d.opened = true
	case ',':
		d.line()
	case ':':
		d.out = append(d.out, ' ')
	}
}

func (d *indenter) line() {
	d.out = append(d.out, '\n')
	for range d.depth {
		d.out = append(d.out, "  "...)
	}
}
