// Package intake holds what all importers of advisories share: reading
// documents that come from outside in bounded memory, and counting what became
// of every record.
//
// It knows no format. The one idea: a record is either kept, withdrawn, skipped
// for a named reason, or bad and named; the four always add up to what was
// read, so nothing is lost in silence.
package intake

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrTooBig is what a document gets that exceeds a limit, matched with
// errors.Is.
var ErrTooBig = errors.New("bigger than allowed")

// Limits bound what one input may cost. The zero value means DefaultLimits.
type Limits struct {
	Bytes int64 // of one input, unpacked
	Value int64 // of one record or document, unpacked
	Files int   // in an archive or a directory
	Depth int   // of directories
}

// DefaultLimits are several times what the largest public feeds need.
func DefaultLimits() Limits {
	return Limits{Bytes: 64 << 30, Value: 64 << 20, Files: 3_000_000, Depth: 16}
}

// OrDefault fills in what is not set.
func (l Limits) OrDefault() Limits {
	d := DefaultLimits()
	return Limits{
		Bytes: cmp.Or(l.Bytes, d.Bytes), Value: cmp.Or(l.Value, d.Value),
		Files: cmp.Or(l.Files, d.Files), Depth: cmp.Or(l.Depth, d.Depth),
	}
}

// MaxProblems is how many bad records are named; all are counted.
const MaxProblems = 50

// Problem is one record, or one part of a record, that could not be
// understood.
type Problem struct {
	File   string `json:"file,omitempty"` // inside an archive or a directory
	Record int    `json:"record"`         // counted from 1 within the input
	ID     string `json:"id,omitempty"`   // where it could be read
	What   string `json:"what"`           // "affected[0].package: ...", field and cause
}

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	fmt.Fprintf(&b, "record %d", p.Record)
	if p.ID != "" {
		fmt.Fprintf(&b, " (%s)", p.ID)
	}
	return b.String() + ": " + p.What
}

// Stats says what became of the records of one input. Records is the sum of
// Kept, Withdrawn, Bad and the values of Skipped.
type Stats struct {
	Records   int            `json:"records"`
	Kept      int            `json:"kept"`
	Withdrawn int            `json:"withdrawn"`
	Bad       int            `json:"bad"`
	Skipped   map[string]int `json:"skipped,omitempty"` // records by reason
	// Parts counts what was left out of records that were kept ("git range",
	// "no version"), by reason.
	Parts    map[string]int `json:"parts,omitempty"`
	Problems []Problem      `json:"problems,omitempty"` // the first MaxProblems
	Newest   time.Time      `json:"newest,omitzero"`    // newest date in a record
}

// Skip counts a record that was left out for a reason.
func (s *Stats) Skip(reason string) { s.Skipped = count(s.Skipped, reason, 1) }

// Part counts a part of a record that was left out for a reason.
func (s *Stats) Part(reason string) { s.Parts = count(s.Parts, reason, 1) }

// Refuse counts a bad record and names it while there is room.
func (s *Stats) Refuse(id, what string) {
	s.Bad++
	s.Note(id, what)
}

// Note names a trouble inside a record that was otherwise used.
func (s *Stats) Note(id, what string) {
	if len(s.Problems) < MaxProblems {
		s.Problems = append(s.Problems, Problem{Record: s.Records, ID: clip(id, 100), What: clip(what, 300)})
	}
}

// See remembers the newest date of the records.
func (s *Stats) See(t ...time.Time) {
	for _, t := range t {
		if t.After(s.Newest) {
			s.Newest = t
		}
	}
}

// Merge adds what became of the next piece of the same input, which was read
// from file (empty: the input itself).
func (s *Stats) Merge(o Stats, file string) {
	for _, p := range o.Problems {
		if len(s.Problems) == MaxProblems {
			break
		}
		if p.File == "" {
			p.File = file
		}
		if file == "" {
			p.Record += s.Records
		}
		s.Problems = append(s.Problems, p)
	}
	s.Records += o.Records
	s.Kept += o.Kept
	s.Withdrawn += o.Withdrawn
	s.Bad += o.Bad
	for k, n := range o.Skipped {
		s.Skipped = count(s.Skipped, k, n)
	}
	for k, n := range o.Parts {
		s.Parts = count(s.Parts, k, n)
	}
	s.See(o.Newest)
}

func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records, %d kept", s.Records, s.Kept)
	if s.Withdrawn > 0 {
		fmt.Fprintf(&b, ", %d withdrawn", s.Withdrawn)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Skipped)) {
		fmt.Fprintf(&b, ", %d skipped: %s", s.Skipped[k], k)
	}
	if s.Bad > 0 {
		fmt.Fprintf(&b, ", %d bad", s.Bad)
	}
	return b.String()
}

// maxReasons bounds the reasons that are told apart: some are made of words
// from the input.
const maxReasons = 64

func count(m map[string]int, reason string, n int) map[string]int {
	if m == nil {
		m = map[string]int{}
	}
	if _, known := m[reason]; !known && len(m) >= maxReasons {
		reason = "other"
	}
	m[reason] += n
	return m
}

// clip keeps texts from outside short and printable.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n-- // not inside a letter
	}
	return s[:n] + "..."
}

// Time reads a date as feeds write it: RFC 3339 with or without fraction or
// zone, or a day alone. The year 1, which some feeds write for "unknown", is
// the zero time.
func Time(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02", "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05.999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Year() <= 1 {
				return time.Time{}, nil
			}
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("date %q is not RFC 3339", clip(s, 40))
}
