// Package gunzip unpacks gzip streams (RFC 1952) faster than the libraries at
// hand, because unpacking is most of what reading a layer costs.
//
// It is for long streams read from start to end by one goroutine; it packs
// nothing and knows no dictionaries. The one idea: symbols are decoded from a
// 64-bit reservoir through tables whose entries hold everything one symbol
// needs, and the inner loop runs only where neither input nor output can end in
// the middle of a symbol, so it never asks. It uses no unsafe code: a wrong
// stream can at worst be refused.
package gunzip

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrCorrupt is what is wrong with a stream that is not cut short.
var ErrCorrupt = errors.New("corrupt gzip data")

const (
	inBytes   = 64 << 10
	inSlack   = 32 // zeros behind the end of the input, for the inner loop
	window    = 32 << 10
	outBytes  = window + 128<<10
	longest   = 258
	outSlack  = longest + 16 // one match, copied eight bytes at a time
	maxHeader = 1 << 20      // of one member: names and comments have no bound of their own
)

// phase is what comes next in the stream.
type phase int

const (
	atHeader phase = iota // of a member
	atBlock
	inStored
	inCodes
	atTrailer
	atEnd
)

// Reader unpacks a stream of one or more members. Bytes behind the last member
// that do not begin another are not its content: see Trailing.
type Reader struct {
	src      io.Reader
	srcErr   error // io.EOF included
	in       [inBytes + inSlack]byte
	ip, end  int // unread input is in[ip:end], plus the whole bytes in the reservoir
	bits     uint64
	nbits    uint
	out      [outBytes + outSlack]byte
	op, rp   int // out[rp:op] is unpacked and not yet given away
	low      int // where the history of this member begins
	phase    phase
	members  int
	final    bool // the block is the member's last
	stored   int  // bytes left of a stored block
	crc      uint32
	size     uint32 // of the member, modulo 2^32 as in the trailer
	trailing int64
	err      error // sticky
	fixed    bool  // the tables are those of RFC 1951, 3.2.6
	lit      litTable
	dist     distTable
}

// NewReader reads a gzip stream. Nothing is read before the first Read.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Trailing is the number of bytes behind the last member, once Read has
// returned io.EOF.
func (r *Reader) Trailing() int64 { return r.trailing }

// Read implements io.Reader. A stream that ends too early is
// io.ErrUnexpectedEOF, a wrong one ErrCorrupt, and errors of the source are
// returned as they are.
func (r *Reader) Read(p []byte) (int, error) {
	for r.rp == r.op {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		r.slide()
		r.err = r.step()
	}
	n := copy(p, r.out[r.rp:r.op])
	r.rp += n
	return n, nil
}

// slide keeps the window and makes room for more, once all is given away.
func (r *Reader) slide() {
	if r.op <= outBytes-longest {
		return
	}
	copy(r.out[:window], r.out[r.op-window:r.op])
	r.low = max(0, r.low-(r.op-window))
	r.op, r.rp = window, window
}

// step goes on until there is output, or an error.
func (r *Reader) step() error {
	from := r.op
	for r.op == from {
		var err error
		switch r.phase {
		case atHeader:
			err = r.header()
		case atBlock:
			err = r.block()
		case inStored:
			err = r.copyStored()
		case inCodes:
			if err = r.codes(); err == nil && r.overrun() {
				err = r.cut()
			}
		case atTrailer:
			err = r.trailer()
		case atEnd:
			err = io.EOF
		}
		if err != nil {
			r.op = from // what was made of a wrong input is not shown
			return err
		}
	}
	r.crc = crc32.Update(r.crc, crc32.IEEETable, r.out[from:r.op])
	r.size += uint32(r.op - from)
	return nil
}

// fill makes sure that n bytes of input are at hand (n is at most inBytes/2),
// or all there are; then zeros follow them.
func (r *Reader) fill(n int) error {
	if r.end-r.ip >= n {
		return nil
	}
	if r.ip > r.end {
		return nil // beyond the end already: the caller finds out
	}
	// The reservoir may hold up to eight bytes that align puts back.
	gone := max(0, r.ip-8)
	copy(r.in[:], r.in[gone:r.end])
	r.end -= gone
	r.ip -= gone
	for empty := 0; r.end-r.ip < n && r.srcErr == nil; {
		var m int
		m, r.srcErr = r.src.Read(r.in[r.end:inBytes])
		r.end += m
		if m > 0 {
			empty = 0
		} else if empty++; empty > 100 && r.srcErr == nil {
			r.srcErr = io.ErrNoProgress
		}
	}
	if r.srcErr != nil {
		clear(r.in[r.end : r.end+inSlack])
		if !errors.Is(r.srcErr, io.EOF) {
			return r.srcErr
		}
	}
	return nil
}

// cut is the error of a stream that ends too early.
func (r *Reader) cut() error {
	if r.srcErr != nil && !errors.Is(r.srcErr, io.EOF) {
		return r.srcErr
	}
	return io.ErrUnexpectedEOF
}

// overrun reports whether more was read than there is.
func (r *Reader) overrun() bool { return r.ip-int(r.nbits>>3) > r.end }

// align drops the rest of a byte and puts whole bytes of the reservoir back.
func (r *Reader) align() error {
	r.ip -= int(r.nbits >> 3)
	r.bits, r.nbits = 0, 0
	if r.ip > r.end {
		return r.cut()
	}
	return nil
}

// next takes n bytes of input, which begin at a byte.
func (r *Reader) next(n int) ([]byte, error) {
	if err := r.fill(n); err != nil {
		return nil, err
	}
	if r.end-r.ip < n {
		return nil, r.cut()
	}
	b := r.in[r.ip : r.ip+n]
	r.ip += n
	return b, nil
}

// header reads the header of a member, or finds that there is none.
func (r *Reader) header() error {
	if err := r.fill(2); err != nil {
		return err
	}
	if r.members > 0 && !bytes.HasPrefix(r.in[r.ip:r.end], []byte{0x1f, 0x8b}) {
		return r.rest()
	}
	b, err := r.next(10)
	if err != nil {
		return err
	}
	flags := b[3]
	if b[0] != 0x1f || b[1] != 0x8b || b[2] != 8 { // reserved flags are ignored, as others do
		return fmt.Errorf("%w: no header", ErrCorrupt)
	}
	whole := crc32.ChecksumIEEE(b)
	left := maxHeader
	take := func(n int) ([]byte, error) {
		b, err := r.next(n)
		if left -= n; left < 0 {
			return nil, fmt.Errorf("%w: header without end", ErrCorrupt)
		}
		whole = crc32.Update(whole, crc32.IEEETable, b)
		return b, err
	}
	if flags&4 != 0 { // extra
		if b, err = take(2); err != nil {
			return err
		}
		for n := int(b[0]) | int(b[1])<<8; n > 0; {
			some := min(n, inBytes/4)
			if _, err = take(some); err != nil {
				return err
			}
			n -= some
		}
	}
	for _, f := range [...]byte{8, 16} { // name, comment
		for flags&f != 0 {
			if b, err = take(1); err != nil {
				return err
			}
			if b[0] == 0 {
				break
			}
		}
	}
	if flags&2 != 0 {
		want := uint16(whole)
		if b, err = r.next(2); err != nil {
			return err
		}
		if uint16(b[0])|uint16(b[1])<<8 != want {
			return fmt.Errorf("%w: checksum of the header", ErrCorrupt)
		}
	}
	r.members++
	r.crc, r.size, r.low, r.phase = 0, 0, r.op, atBlock
	return nil
}

// trailer compares checksum and size.
func (r *Reader) trailer() error {
	if err := r.align(); err != nil {
		return err
	}
	b, err := r.next(8)
	if err != nil {
		return err
	}
	crc := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	size := uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24
	if crc != r.crc || size != r.size {
		return fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	r.phase = atHeader
	return nil
}

// rest counts what follows the last member.
func (r *Reader) rest() error {
	r.trailing = int64(r.end - r.ip)
	r.ip = r.end
	for {
		if err := r.fill(1); err != nil {
			return err
		}
		if r.end == r.ip {
			r.phase = atEnd
			return io.EOF
		}
		r.trailing += int64(r.end - r.ip)
		r.ip = r.end
	}
}
