package intake

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// guard reads until left bytes are gone, so that a decoder which must hold a
// value completely cannot be made to hold more.
type guard struct {
	ctx   context.Context
	r     io.Reader
	left  int64
	total int64
	max   int64
}

func (g *guard) Read(p []byte) (int, error) {
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	if g.left <= 0 {
		return 0, fmt.Errorf("one value: %w", ErrTooBig)
	}
	if g.total >= g.max {
		// The end of the input is not an excess: ask for it.
		if n, err := g.r.Read(p[:min(1, len(p))]); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("input of more than %d bytes: %w", g.max, ErrTooBig)
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.left, g.max-g.total)])
	g.left -= int64(n)
	g.total += int64(n)
	return n, err
}

// Decoder walks one JSON document, holding one value at a time.
type Decoder struct {
	dec   *json.Decoder
	guard *guard
	outer *guard // of a reader below, whose allowance is renewed along
	value int64
}

// reset renews the allowance of bytes before the next value.
func (d *Decoder) reset() {
	d.guard.left = d.value
	if d.outer != nil {
		d.outer.left = d.value
	}
}

// NewDecoder reads r, of which no value may be larger than lim.Value.
func NewDecoder(ctx context.Context, r io.Reader, lim Limits) *Decoder {
	lim = lim.OrDefault()
	g := &guard{ctx: ctx, r: r, left: lim.Value, max: lim.Bytes}
	return &Decoder{dec: json.NewDecoder(g), guard: g, value: lim.Value}
}

// Value decodes the next value into v. A value of the wrong type is an error
// for which Recoverable is true: the value has been passed.
func (d *Decoder) Value(v any) error {
	d.reset()
	return d.dec.Decode(v)
}

// Recoverable reports whether reading can go on after an error of Value.
func Recoverable(err error) bool {
	var t *json.UnmarshalTypeError
	return errors.As(err, &t)
}

// Members calls f for every member of the object that comes next. f must take
// the value, by Value, Members, Elements or Skip.
func (d *Decoder) Members(f func(key string) error) error {
	return d.inside('{', func() error {
		t, err := d.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("key of an object is %v", t)
		}
		return f(key)
	})
}

// Elements calls f for every element of the array that comes next. f must take
// the value.
func (d *Decoder) Elements(f func() error) error { return d.inside('[', f) }

// Skip passes the next value without holding it.
func (d *Decoder) Skip() error {
	depth := 0
	for {
		t, err := d.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth <= 0 {
			return nil
		}
	}
}

// End is nil when nothing but white space follows.
func (d *Decoder) End() error {
	if t, err := d.token(); err != io.EOF {
		if err != nil {
			return err
		}
		return fmt.Errorf("%v after the end of the document", t)
	}
	return nil
}

func (d *Decoder) inside(open json.Delim, f func() error) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	if t != open {
		return fmt.Errorf("%s expected at byte %d, not %.40v", open, d.dec.InputOffset(), t)
	}
	for {
		d.reset()
		if !d.dec.More() {
			break
		}
		if err := f(); err != nil {
			return err
		}
	}
	_, err = d.token()
	return err
}

func (d *Decoder) token() (json.Token, error) {
	d.reset()
	return d.dec.Token()
}

// Records calls f with every record of a stream: one JSON value per line
// (where a broken line is a broken record and the next line is read), one or
// several values of any layout, or one array of them. raw is valid during the
// call only.
func Records(ctx context.Context, r io.Reader, lim Limits, f func(raw json.RawMessage) error) error {
	lim = lim.OrDefault()
	g := &guard{ctx: ctx, r: r, left: lim.Value, max: lim.Bytes}
	br := bufio.NewReaderSize(g, 64<<10)
	first, err := firstByte(br)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	if first == '[' {
		d := NewDecoder(ctx, br, lim)
		d.outer = g
		if err := d.Elements(func() error { return d.raw(f) }); err != nil {
			return noEOF(err)
		}
		return d.End()
	}
	line, err := nextLine(br, g, lim.Value, nil)
	if err != nil {
		return err
	}
	if line[0] == '{' && json.Valid(line) {
		return lines(br, g, lim.Value, line, f)
	}
	d := NewDecoder(ctx, io.MultiReader(bytes.NewReader(append(line, '\n')), br), lim)
	d.outer = g
	for {
		d.reset()
		if !d.dec.More() {
			return noEOF(d.End())
		}
		if err := d.raw(f); err != nil {
			return noEOF(err)
		}
	}
}

// firstByte passes white space and a byte order mark, and peeks.
func firstByte(br *bufio.Reader) (byte, error) {
	for {
		b, err := br.ReadByte()
		if err != nil {
			return 0, err
		}
		switch b {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf:
		default:
			return b, br.UnreadByte()
		}
	}
}

func (d *Decoder) raw(f func(json.RawMessage) error) error {
	var raw json.RawMessage
	if err := d.Value(&raw); err != nil {
		return err
	}
	return f(raw)
}

func lines(br *bufio.Reader, g *guard, max int64, line []byte, f func(json.RawMessage) error) error {
	for {
		if err := f(line); err != nil {
			return err
		}
		var err error
		if line, err = nextLine(br, g, max, line[:0]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// nextLine reads the next line that is not empty, without the white space
// around it. io.EOF: there is none.
func nextLine(br *bufio.Reader, g *guard, max int64, buf []byte) ([]byte, error) {
	for {
		buf = buf[:0]
		for {
			g.left = max
			part, err := br.ReadSlice('\n')
			if int64(len(buf)+len(part)) > max {
				return nil, fmt.Errorf("one line: %w", ErrTooBig)
			}
			buf = append(buf, part...)
			if err == bufio.ErrBufferFull {
				continue
			}
			if err != nil && (err != io.EOF || len(bytes.TrimSpace(buf)) == 0) {
				return nil, err
			}
			break
		}
		if t := bytes.TrimSpace(buf); len(t) > 0 {
			return append(buf[:0], t...), nil
		}
	}
}

// noEOF turns an end in the middle into what it is.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
