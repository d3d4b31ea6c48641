package secret

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// text is what is searched, and what is known of where it comes from.
type text struct {
	data            []byte
	path, base, ext string
	source          bool // program source: names are given values that are code
	foreign         bool // published code of others: generic detectors are off
	words           *words
}

// Bounds per detector and text. What goes beyond is said, not searched.
const (
	maxHits  = 100
	maxTries = 4096
)

// findings are the hits of a text, in order of place, and per detector with
// more than was kept what to say.
type findings struct {
	hits []hit
	more map[int]string
}

// find applies every rule. It works in time proportional to the text: an
// expression sees a bounded window, and a detector is given up after maxTries.
func (s *ready) find(t *text) findings {
	var off [maxRules]int8 // 0: not known, 1: on, -1: off here
	var tries, kept [maxRules]uint16
	var f findings
	on := func(n int) bool {
		if off[n] == 0 {
			off[n] = 1
			r := &s.rules[n]
			if !r.files.empty() && !r.files.match(t.path, t.base, t.ext) || t.foreign && r.Generic > 0 {
				off[n] = -1
			}
		}
		return off[n] > 0
	}
	give := func(n int, why string) {
		off[n] = -1
		if f.more == nil {
			f.more = map[int]string{}
		}
		f.more[n] = why
	}
	add := func(n int, h hit) {
		if kept[n] == maxHits {
			give(n, fmt.Sprintf("more than %d in this file", maxHits))
			return
		}
		kept[n]++
		h.rule = n
		f.hits = append(f.hits, h)
	}
	for _, n := range s.lines {
		if !on(n) {
			continue
		}
		expr, err := s.rules[n].expr()
		if err != nil {
			continue // a test compiles them all
		}
		for _, m := range expr.FindAllSubmatchIndex(t.data, -1) {
			if h := span(m, 0); on(n) && s.rules[n].accept(t, h, m[0]) {
				add(n, h)
			}
		}
	}
	s.filter.find(t.data, func(keyword, at int) {
		var v value
		state := 0 // of v: 0 not read, 1 there, -1 none
		for _, n := range s.byWord[keyword] {
			if !on(n) {
				continue
			}
			r := &s.rules[n]
			if r.Assigned && state == 0 {
				state = -1
				if got, ok := assigned(t.data, at+s.lengths[keyword]); ok {
					v, state = got, 1
				}
			}
			if r.Assigned && state < 0 {
				continue
			}
			h, ok, tried := r.at(t, at, &v)
			if ok {
				add(n, h)
			} else if tried {
				if tries[n]++; tries[n] == maxTries {
					give(n, "more candidates in this file than are looked at")
				}
			}
		}
	})
	f.hits = s.distinct(f.hits)
	return f
}

// distinct keeps one hit of those that overlap: an exact detector goes before
// a generic one, then the longer, then the first.
func (s *ready) distinct(hits []hit) []hit {
	if len(hits) < 2 {
		return hits
	}
	rank := func(h hit) int { return s.rules[h.rule].Generic }
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.end-b.start, a.end-a.start), cmp.Compare(a.start, b.start), cmp.Compare(a.rule, b.rule))
	})
	var kept []hit // by start, disjoint
	for _, h := range hits {
		i, _ := slices.BinarySearchFunc(kept, h, func(a, b hit) int { return cmp.Compare(a.start, b.start) })
		if i > 0 && kept[i-1].end > h.start || i < len(kept) && kept[i].start < h.end {
			continue
		}
		kept = slices.Insert(kept, i, h)
	}
	return kept
}

// secrets describes hits without telling them.
func (f *findings) secrets(s *ready, t *text, where string) []scan.Secret {
	out := make([]scan.Secret, 0, len(f.hits)+len(f.more))
	line, seen := 1, 0
	for _, h := range f.hits {
		line += strings.Count(string(t.data[seen:h.start]), "\n")
		seen = h.start
		r := &s.rules[h.rule]
		secret := s.body(t, h)
		out = append(out, scan.Secret{Detector: r.ID, Title: r.Title, Severity: r.severity, Where: where, Line: line,
			Masked: mask(secret), Fingerprint: fingerprint(r.ID, secret), Layer: -1, State: scan.Open})
	}
	for n, why := range f.more {
		r := &s.rules[n]
		out = append(out, scan.Secret{Detector: r.ID, Title: r.Title + ": " + why, Severity: r.severity, Where: where,
			Masked: "...", Fingerprint: fingerprint(r.ID, []byte(where)), Layer: -1, State: scan.Open})
	}
	slices.SortStableFunc(out, func(a, b scan.Secret) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Detector, b.Detector))
	})
	return out
}

// body gives the bytes that are secret: of keys in PEM, where only the header
// was matched, the key itself.
func (s *ready) body(t *text, h hit) []byte {
	if v := s.rules[h.rule].Validator; v == "pem-plain" || v == "pem-encrypted" {
		if k, ok := pemAt(t.data, h.start); ok {
			return []byte(hex.EncodeToString(k.body))
		}
	}
	return t.data[h.start:h.end]
}

// mask shows the first characters, at most four and never more than a quarter,
// and tells nothing of the length.
func mask(secret []byte) string {
	show := min(4, len(secret)/4)
	var b strings.Builder
	for _, c := range secret[:show] {
		if c <= 0x20 || c > 0x7e {
			c = '*'
		}
		b.WriteByte(c)
	}
	return b.String() + "********"
}

// fingerprint tells the same secret again: the first 16 hex digits of an
// HMAC-SHA-256 keyed by the detector's id.
func fingerprint(detector string, secret []byte) string {
	m := hmac.New(sha256.New, []byte(detector))
	m.Write(secret)
	return hex.EncodeToString(m.Sum(nil)[:8])
}
