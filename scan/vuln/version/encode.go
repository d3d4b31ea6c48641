package version

import (
	"encoding/binary"
	"strings"
)

// Keys are made of tags below 0x10 and of numbers, whose first byte is between
// 0x10 and 0xF1, so that a tag (an end, a marker) is always smaller than a
// number in the same place. Text ends in endText.
const (
	endText     = 0x00
	smallNumber = 0x10 // 0x10..0xDF: the number itself, 0 to 207
	wideNumber  = 0xE0 // +n: n bytes, big endian
	hugeNumber  = 0xF0 // two bytes of length, then decimal digits
	smallCount  = wideNumber - smallNumber
)

// appendNumber appends decimal digits as a number; no digits are zero.
// Versions are at most MaxLength long, so the length fits.
func appendNumber(dst []byte, digits string) []byte {
	digits = strings.TrimLeft(digits, "0")
	if len(digits) > 18 {
		dst = append(dst, hugeNumber)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(digits)))
		return append(dst, digits...)
	}
	var n uint64
	for i := range len(digits) {
		n = n*10 + uint64(digits[i]-'0')
	}
	return appendUint(dst, n)
}

func appendUint(dst []byte, n uint64) []byte {
	if n < smallCount {
		return append(dst, smallNumber+byte(n))
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	i := 0
	for b[i] == 0 {
		i++
	}
	dst = append(dst, wideNumber+byte(8-i))
	return append(dst, b[i:]...)
}

// appendText appends text so that a prefix comes before what continues it.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, s...)
	return append(dst, endText)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// digits gives the leading digits of s and the rest.
func digits(s string) (d, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// letters gives the leading letters of s and the rest.
func letters(s string) (l, rest string) {
	i := 0
	for i < len(s) && isAlpha(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func allDigits(s string) bool {
	d, rest := digits(s)
	return d != "" && rest == ""
}

// isZero tells whether digits are nothing but zeros.
func isZero(d string) bool { return strings.Trim(d, "0") == "" }

// zeros appends a run of n zeros that ends on a side of the padding with
// zeros that the shorter version gets: below it, a longer run is nearer to the
// padding and so greater; above it, a longer run is smaller.
func zeros(dst []byte, n int, above bool) []byte {
	if above {
		n = MaxLength - n
	}
	return binary.BigEndian.AppendUint16(dst, uint16(n))
}
