package secret

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// filter finds keywords in text, in one pass and without looking at every
// byte. Three bytes at every second position are folded to lower case and
// looked up in a small table: every keyword has a trigram there at an even and
// one at an odd distance from its beginning, so that none can slip between two
// positions. Only where the table says yes is a keyword compared.
type filter struct {
	bits [1 << filterBits / 64]uint64
	// anchors are sorted by the hash of their trigram; those of hash h are from
	// first[h] to first[h+1].
	anchors []anchor
	first   [1<<filterBits + 1]uint16
}

// anchor is a keyword by one of its trigrams.
type anchor struct {
	keyword string // folded
	number  int    // of the keyword
	offset  int    // of the trigram in it
	hash    uint32 // of the trigram
}

const (
	filterBits = 15
	// minKeyword is the length that has a trigram at an even and at an odd offset.
	minKeyword = 4
	// maxKeywords keeps two anchors each within the numbers of a table.
	maxKeywords = 1 << 14
)

// trigram hashes the lower three bytes of v after folding. Folding sets one bit,
// which makes letters lower case and other bytes something: the same something
// in keyword and text, and the comparison decides.
func trigram(v uint32) uint32 {
	return (v | 0x202020) & 0xffffff * 0x9e3779b1 >> (32 - filterBits)
}

func newFilter(keywords []string) (*filter, error) {
	if len(keywords) > maxKeywords {
		return nil, fmt.Errorf("prepare keywords: %d are more than %d", len(keywords), maxKeywords)
	}
	f := &filter{}
	for n, k := range keywords {
		if len(k) < minKeyword {
			return nil, fmt.Errorf("prepare keyword %q: it must have at least %d bytes", k, minKeyword)
		}
		k = string(lower([]byte(k)))
		for parity := range 2 {
			best, bestRarity := -1, -1
			for o := parity; o+3 <= len(k); o += 2 {
				if r := rarity(k[o : o+3]); r > bestRarity {
					best, bestRarity = o, r
				}
			}
			h := trigram(uint32(k[best]) | uint32(k[best+1])<<8 | uint32(k[best+2])<<16)
			f.bits[h/64] |= 1 << (h % 64)
			f.anchors = append(f.anchors, anchor{keyword: k, number: n, offset: best, hash: h})
		}
	}
	slices.SortStableFunc(f.anchors, func(a, b anchor) int { return cmp.Compare(a.hash, b.hash) })
	for h, i := 0, 0; h < len(f.first); h++ {
		for i < len(f.anchors) && int(f.anchors[i].hash) < h {
			i++
		}
		f.first[h] = uint16(i)
	}
	return f, nil
}

// rarity ranks trigrams by how seldom they are in text: letters that are
// common in English and in code count little, the others more.
func rarity(s string) int {
	r := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == 'e' || c == 't' || c == 'a' || c == 'o' || c == 'i' || c == 'n' || c == 's' || c == 'r' || c == ' ':
		case c == 'l' || c == 'c' || c == 'd' || c == 'u' || c == 'p' || c == 'm' || c == '/':
			r += 2
		case c == '_' || c == '-' || c == '"' || c == '.' || c == '=' || c == '\'' || c == ':':
			r += 3
		case c >= 'a' && c <= 'z':
			r += 4
		default:
			r += 5
		}
	}
	return r
}

// find calls hit with the number of a keyword and where it begins, for every
// keyword at every place, roughly in order.
func (f *filter) find(text []byte, hit func(keyword, at int)) {
	i := 0
	for ; i+4 <= len(text); i += 2 {
		h := trigram(binary.LittleEndian.Uint32(text[i:]))
		if f.bits[h/64]&(1<<(h%64)) != 0 {
			f.compare(text, i, h, hit)
		}
	}
	if i+3 <= len(text) {
		h := trigram(uint32(text[i]) | uint32(text[i+1])<<8 | uint32(text[i+2])<<16)
		f.compare(text, i, h, hit)
	}
}

func (f *filter) compare(text []byte, i int, h uint32, hit func(keyword, at int)) {
	for _, a := range f.anchors[f.first[h]:f.first[h+1]] {
		at := i - a.offset
		if at >= 0 && at+len(a.keyword) <= len(text) && equalFold(text[at:at+len(a.keyword)], a.keyword) {
			hit(a.number, at)
		}
	}
}

// equalFold compares text with a folded keyword of the same length.
func equalFold(text []byte, keyword string) bool {
	for i := range len(keyword) {
		if lowerByte(text[i]) != keyword[i] {
			return false
		}
	}
	return true
}

// lower folds ASCII only: offsets must stay.
func lower(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[i] = lowerByte(c)
	}
	return out
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 32
	}
	return c
}
