package gunzip

import (
	"encoding/binary"
	"fmt"
)

// order is that of the lengths of the code length code (RFC 1951, 3.2.7).
var order = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// headerBytes is more than the header of any block takes.
const headerBytes = 1024

// take reads n bits, at most 16, of a block's header. Behind the end of the
// input it reads zeros, and overrun tells.
func (r *Reader) take(n uint) uint {
	r.reserve(n)
	v := uint(r.bits & (1<<n - 1))
	r.bits >>= n
	r.nbits -= n
	return v
}

// reserve puts bytes into the reservoir until it has n bits.
func (r *Reader) reserve(n uint) {
	for r.nbits < n {
		var b byte
		if r.ip < r.end {
			b = r.in[r.ip]
		}
		r.ip++
		r.bits |= uint64(b) << (r.nbits & 63)
		r.nbits += 8
	}
}

// settle makes the reservoir hold exactly what nbits says. The inner loop leaves
// bits above, which it would read again.
func (r *Reader) settle() { r.bits &= 1<<(r.nbits&63) - 1 }

// block reads the header of a block, or goes on behind the last one.
func (r *Reader) block() error {
	if r.final {
		r.final = false
		r.phase = atTrailer
		return nil
	}
	if err := r.fill(headerBytes); err != nil {
		return err
	}
	r.settle()
	r.final = r.take(1) == 1
	var err error
	switch r.take(2) {
	case 0:
		if err := r.align(); err != nil {
			return err
		}
		b, err := r.next(4)
		if err != nil {
			return err
		}
		n := binary.LittleEndian.Uint16(b)
		if binary.LittleEndian.Uint16(b[2:]) != ^n {
			return fmt.Errorf("%w: length of a stored block", ErrCorrupt)
		}
		r.stored, r.phase = int(n), inStored
		return nil
	case 1:
		err = r.fixedCodes()
	case 2:
		err = r.dynamicCodes()
	default:
		err = fmt.Errorf("%w: type of a block", ErrCorrupt)
	}
	if r.overrun() {
		return r.cut()
	}
	r.phase = inCodes
	return err
}

// copyStored copies a part of a stored block.
func (r *Reader) copyStored() error {
	if r.stored == 0 {
		r.phase = atBlock
		return nil
	}
	if err := r.fill(1); err != nil {
		return err
	}
	n := min(r.stored, r.end-r.ip, outBytes-r.op)
	if n == 0 {
		return r.cut()
	}
	copy(r.out[r.op:], r.in[r.ip:r.ip+n])
	r.op += n
	r.ip += n
	r.stored -= n
	return nil
}

func (r *Reader) fixedCodes() error {
	if r.fixed {
		return nil
	}
	var lengths [288 + 32]uint8
	for i := range 288 {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	for i := range 32 {
		lengths[288+i] = 5
	}
	if !r.lit.build(lengths[:288]) || !r.dist.build(lengths[288:]) {
		return fmt.Errorf("%w: fixed codes", ErrCorrupt)
	}
	r.fixed = true
	return nil
}

func (r *Reader) dynamicCodes() error {
	r.fixed = false
	nlit, ndist, n := int(r.take(5))+257, int(r.take(5))+1, int(r.take(4))+4
	if nlit > 286 || ndist > 30 {
		return fmt.Errorf("%w: number of codes", ErrCorrupt)
	}
	var lengths [286 + 30]uint8
	var small [19]uint8
	for i := range n {
		small[order[i]] = uint8(r.take(3))
	}
	var meta metaTable
	if !meta.build(small[:]) {
		return fmt.Errorf("%w: code of code lengths", ErrCorrupt)
	}
	for i := 0; i < nlit+ndist; {
		sym, ok := meta.decode(r)
		if !ok {
			return fmt.Errorf("%w: code length", ErrCorrupt)
		}
		if sym < 16 {
			lengths[i] = sym
			i++
			continue
		}
		var value uint8
		var times int
		switch sym {
		case 16:
			if i == 0 {
				return fmt.Errorf("%w: repeated code length", ErrCorrupt)
			}
			value, times = lengths[i-1], 3+int(r.take(2))
		case 17:
			times = 3 + int(r.take(3))
		default:
			times = 11 + int(r.take(7))
		}
		if i+times > nlit+ndist {
			return fmt.Errorf("%w: repeated code length", ErrCorrupt)
		}
		for range times {
			lengths[i] = value
			i++
		}
	}
	if !r.lit.build(lengths[:nlit]) || !r.dist.build(lengths[nlit:nlit+ndist]) {
		return fmt.Errorf("%w: codes of a block", ErrCorrupt)
	}
	return nil
}
