package gunzip

import (
	"encoding/binary"
	"fmt"
)

// codes is the inner loop: it decodes symbols until the block ends, the output
// is full or the input at hand is used up, and then comes back. Every round of
// the loop may read 16 bytes and write outSlack, which its condition grants.
func (r *Reader) codes() error {
	if err := r.fill(inBytes / 4); err != nil {
		return err
	}
	var (
		in       = &r.in
		out      = &r.out
		lit      = &r.lit
		dist     = &r.dist
		ip, op   = r.ip, r.op
		acc      = r.bits
		n        = r.nbits
		safeIn   = r.end - 16
		oldest   = r.low
		err      error
		finished bool
	)
	if r.srcErr != nil {
		safeIn = r.end + inSlack - 16 // zeros follow; overrun tells whether they were used
	}
	for ip <= safeIn && op <= outBytes-longest {
		acc |= binary.LittleEndian.Uint64(in[ip:ip+8]) << (n & 63)
		ip += int((63 - n) >> 3)
		n |= 56
		e := lit[acc&litMask]
		// Up to three literals use at most 45 of the 56 bits; a length behind two
		// of them fits too.
		if e&literal != 0 {
			acc >>= e & 63
			n -= uint(e & 63)
			out[op] = byte(e >> 16)
			op++
			e = lit[acc&litMask]
			if e&literal != 0 {
				acc >>= e & 63
				n -= uint(e & 63)
				out[op] = byte(e >> 16)
				op++
				e = lit[acc&litMask]
				if e&literal != 0 {
					acc >>= e & 63
					n -= uint(e & 63)
					out[op] = byte(e >> 16)
					op++
					continue
				}
			}
		}
		if e&special != 0 {
			if e&subtable != 0 {
				acc >>= litBits
				n -= litBits
				e = lit[uint64(e>>16)+acc&(1<<(e>>codeShift&15)-1)]
			}
			if e&literal != 0 {
				acc >>= e & 63
				n -= uint(e & 63)
				out[op] = byte(e >> 16)
				op++
				continue
			}
			if e&special != 0 {
				if e&endOfBlock == 0 {
					err = fmt.Errorf("%w: symbol", ErrCorrupt)
					break
				}
				acc >>= e & 63
				n -= uint(e & 63)
				finished = true
				break
			}
		}
		length := int(e>>16) + int(acc&(1<<(e&63)-1)>>(e>>codeShift&31))
		acc >>= e & 63
		n -= uint(e & 63)

		acc |= binary.LittleEndian.Uint64(in[ip:ip+8]) << (n & 63)
		ip += int((63 - n) >> 3)
		n |= 56
		e = dist[acc&distMask]
		if e&special != 0 {
			if e&subtable != 0 {
				acc >>= distBits
				n -= distBits
				e = dist[uint64(e>>16)+acc&(1<<(e>>codeShift&15)-1)]
			}
			if e&special != 0 {
				err = fmt.Errorf("%w: distance", ErrCorrupt)
				break
			}
		}
		distance := int(e>>16) + int(acc&(1<<(e&63)-1)>>(e>>codeShift&31))
		acc >>= e & 63
		n -= uint(e & 63)

		from := op - distance
		if from < oldest {
			err = fmt.Errorf("%w: distance beyond the beginning", ErrCorrupt)
			break
		}
		to := op + length
		switch {
		case distance >= 8:
			// Eight bytes at a time, writing up to seven too many.
			for {
				binary.LittleEndian.PutUint64(out[op:op+8], binary.LittleEndian.Uint64(out[from:from+8]))
				op += 8
				from += 8
				if op >= to {
					break
				}
			}
		case distance == 1:
			v := uint64(out[from]) * 0x0101010101010101
			for ; op < to; op += 8 {
				binary.LittleEndian.PutUint64(out[op:op+8], v)
			}
		default:
			for ; op < to; op++ {
				out[op] = out[from]
				from++
			}
		}
		op = to
	}
	r.ip, r.op, r.bits, r.nbits = ip, op, acc, n
	switch {
	case err != nil:
		if r.overrun() {
			return r.cut() // zeros behind the end are no symbols
		}
		return err
	case finished:
		r.settle()
		r.phase = atBlock
	case ip > safeIn && r.srcErr != nil:
		return r.cut()
	}
	return nil
}
