package gunzip

import "math/bits"

// An entry of a table is one symbol, ready for use:
//
//	literal:  1<<31 | byte<<16 | bits
//	length:   base<<16 | code bits<<8 | code and extra bits
//	distance: base<<16 | code bits<<8 | code and extra bits
//	other:    special, with subtable, endOfBlock or neither (an invalid code)
//	subtable: start<<16 | special | subtable | its bits<<8 | bits of the first table
const (
	literal    = 1 << 31
	special    = 1 << 15
	subtable   = 1 << 14
	endOfBlock = 1 << 13
)

// Bits of the first table, and room for all second ones. A second table has at
// least two codes, so there are at most half as many as symbols.
const (
	litBits   = 11
	distBits  = 8
	maxCode   = 15
	litRoom   = 1<<litBits + 144<<(maxCode-litBits)
	distRoom  = 1<<distBits + 16<<(maxCode-distBits)
	metaBits  = 7
	distMask  = 1<<distBits - 1
	litMask   = 1<<litBits - 1
	codeShift = 8
)

type (
	litTable  [litRoom]uint32
	distTable [distRoom]uint32
	metaTable [1 << metaBits]uint32
)

// Bases and extra bits of lengths (symbols 257 and up) and distances, RFC 1951,
// 3.2.5.
var (
	lengthBase  = [29]uint32{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint32{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]uint32{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint32{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

func litEntry(sym int, n uint32) uint32 {
	switch {
	case sym < 256:
		return literal | uint32(sym)<<16 | n
	case sym == 256:
		return special | endOfBlock | n
	case sym-257 < len(lengthBase):
		return lengthBase[sym-257]<<16 | n<<codeShift | (n + lengthExtra[sym-257])
	}
	return special
}

func distEntry(sym int, n uint32) uint32 {
	if sym < len(distBase) {
		return distBase[sym]<<16 | n<<codeShift | (n + distExtra[sym])
	}
	return special
}

func metaEntry(sym int, n uint32) uint32 { return uint32(sym)<<16 | n }

func (t *litTable) build(lengths []uint8) bool  { return build(t[:], litBits, lengths, litEntry) }
func (t *distTable) build(lengths []uint8) bool { return build(t[:], distBits, lengths, distEntry) }
func (t *metaTable) build(lengths []uint8) bool { return build(t[:], metaBits, lengths, metaEntry) }

// decode reads one code of the code length code.
func (t *metaTable) decode(r *Reader) (uint8, bool) {
	r.reserve(metaBits)
	e := t[r.bits&(1<<metaBits-1)]
	if e&special != 0 {
		return 0, false
	}
	r.bits >>= e & 0xff
	r.nbits -= uint(e & 0xff)
	return uint8(e >> 16), true
}

// build makes a table of the canonical code with these lengths (RFC 1951,
// 3.2.2). It refuses codes that are over-subscribed or incomplete, but for one
// code of one bit and for none at all, as zlib does.
func build(t []uint32, first uint, lengths []uint8, entry func(sym int, n uint32) uint32) bool {
	var count, at [maxCode + 2]int
	longestCode := uint(0)
	for _, n := range lengths {
		count[n]++
		longestCode = max(longestCode, uint(n))
	}
	count[0] = 0
	left := 1
	for n := 1; n <= maxCode; n++ {
		if left = left<<1 - count[n]; left < 0 {
			return false
		}
		at[n+1] = at[n] + count[n]
	}
	if left > 0 { // incomplete
		if longestCode > 1 {
			return false
		}
		for i := range 1 << first {
			t[i] = special
		}
	}
	// Symbols by length, then by value: the order of their codes.
	var sorted [288]uint16
	for sym, n := range lengths {
		if n > 0 {
			sorted[at[n]] = uint16(sym)
			at[n]++
		}
	}
	total := at[longestCode]
	if longestCode == 0 {
		total = 0
	}
	code, length := uint(0), uint(0)
	free, prefix := uint(1)<<first, ^uint(0)
	start := uint(0)
	for _, sym := range sorted[:total] {
		n := uint(lengths[sym])
		code <<= n - length
		length = n
		rev := uint(bits.Reverse16(uint16(code))) >> (16 - n)
		code++
		if n <= first {
			e := entry(int(sym), uint32(n))
			for i := rev; i < 1<<first; i += 1 << n {
				t[i] = e
			}
			continue
		}
		width := longestCode - first
		if p := rev & (1<<first - 1); p != prefix {
			prefix, start = p, free
			free += 1 << width
			if free > uint(len(t)) {
				return false // cannot be: see litRoom
			}
			t[p] = uint32(start)<<16 | special | subtable | uint32(width)<<codeShift | uint32(first)
		}
		e := entry(int(sym), uint32(n-first))
		for i := rev >> first; i < 1<<width; i += 1 << (n - first) {
			t[start+i] = e
		}
	}
	return true
}
