// Package secret finds credentials in files of an image and in its
// configuration.
//
// It neither opens images nor decides whether a finding matters. The one idea:
// every detector is data (content/secrets), and one pass over the text for all
// their keywords chooses the few expressions that run, each on a small window;
// what is found leaves this package masked, with a fingerprint, and never as
// itself.
package secret

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/scan"
)

// engine is part of the version: change it whenever results may change with the
// same content.
const engine = "1"

// Scanner finds secrets. It is safe for concurrent use. Its detectors are read
// and made ready when a text is met that may hold a secret: a scan whose layers
// are all remembered meets none, as a rule.
type Scanner struct {
	version string
	// words are the keywords of all detectors, folded. Without them nothing is
	// known of a text before the detectors are read.
	words [][]byte
	ready func() (*ready, error)
}

// ready is every detector made ready.
type ready struct {
	rules   []rule
	filter  *filter
	byWord  [][]int // rules by keyword number
	lengths []int   // of keywords
	lines   []int   // rules without keywords
	config  []int   // rules for names of the configuration
	places  places
	words   *words
}

// maxRules bounds the table that Scan keeps on its stack.
const maxRules = 512

// New makes a Scanner of the embedded detectors. An error means that the
// binary was built from a broken tree. Detectors that are there and cannot be
// used, which a test keeps from happening, are told as a finding of every file.
func New() (*Scanner, error) {
	sum, err := content.SecretsDigest()
	if err != nil {
		return nil, err
	}
	s := &Scanner{version: "secret/" + engine + "-" + hex.EncodeToString(sum[:8]), ready: sync.OnceValues(prepare)}
	if words, ok := content.SecretKeywords(); ok {
		for _, w := range words {
			s.words = append(s.words, lower([]byte(w)))
		}
	}
	return s, nil
}

func prepare() (*ready, error) {
	c, err := content.LoadSecrets()
	if err != nil {
		return nil, err
	}
	return compile(c)
}

func compile(c *content.Secrets) (*ready, error) {
	if len(c.Detectors) > maxRules {
		return nil, fmt.Errorf("prepare detectors: %d are more than %d", len(c.Detectors), maxRules)
	}
	s := &ready{places: newPlaces(&c.Places), words: newWords(c.Places.Placeholders, c.Places.Words)}
	var keywords []string
	numbers := map[string]int{}
	for n, d := range c.Detectors {
		r, err := newRule(d)
		if err != nil {
			return nil, err
		}
		s.rules = append(s.rules, r)
		switch {
		case d.Lines:
			s.lines = append(s.lines, n)
			continue
		case d.Config:
			s.config = append(s.config, n)
			continue
		}
		for _, k := range d.Keywords {
			k = strings.ToLower(k)
			if _, ok := numbers[k]; !ok {
				numbers[k] = len(keywords)
				keywords = append(keywords, k)
				s.lengths = append(s.lengths, len(k))
				s.byWord = append(s.byWord, nil)
			}
			s.byWord[numbers[k]] = append(s.byWord[numbers[k]], n)
		}
	}
	var err error
	s.filter, err = newFilter(keywords)
	return s, err
}

// Version changes whenever results may change.
func (s *Scanner) Version() string { return s.version }

// Wants reports whether a file is worth scanning, by its path (with or without
// leading slash), mode bits and size in bytes. It is true for files that are
// named like a credential whatever their size and place (but for the places
// that content says to skip): a caller that cannot buffer one must say so with
// a Gap.
func (s *Scanner) Wants(path string, _ uint32, size int64) bool {
	r, err := s.ready()
	return err != nil || r.places.wants(strings.TrimPrefix(path, "/"), size)
}

// Scan finds the secrets of one file's content, in order of lines; Where is the
// absolute path. Layer and Deleted are the caller's to fill.
func (s *Scanner) Scan(path string, data []byte) []scan.Secret {
	r, err := s.ready()
	if err != nil {
		return broken(err, path)
	}
	return r.scan(path, data)
}

// broken is what is found where nothing can be: never nothing.
func broken(err error, where string) []scan.Secret {
	return []scan.Secret{{Detector: "none", Title: "Secrets were not looked for: " + err.Error(), Severity: scan.Critical,
		Where: where, Masked: "...", Fingerprint: fingerprint("none", []byte(where)), Layer: -1, State: scan.Open}}
}

func (s *ready) scan(path string, data []byte) []scan.Secret {
	name := strings.TrimPrefix(path, "/")
	base, ext := split(name)
	data, isText := plain(data)
	if !isText && !s.places.credential(name, base, ext) {
		return nil
	}
	t := &text{data: data, path: name, base: base, ext: ext, source: s.places.sources[ext] && !s.places.configuration[ext], words: s.words}
	t.foreign = s.places.quiet.match(name, base, ext)
	f := s.find(t)
	if len(f.hits) == 0 && len(f.more) == 0 {
		return nil
	}
	found := f.secrets(s, t, "/"+name)
	if s.places.lower.match(name, base, ext) {
		for i := range found {
			found[i].Severity = min(found[i].Severity, scan.Low)
			found[i].Title += " (where tests and examples are)"
		}
	}
	return found
}

// plain turns UTF-16 with a byte order mark into UTF-8 and reports whether the
// result is text.
func plain(data []byte) ([]byte, bool) {
	if len(data) >= 4 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff) {
		big := data[0] == 0xfe
		units := make([]uint16, 0, len(data)/2)
		for i := 2; i+1 < len(data); i += 2 {
			u := uint16(data[i]) | uint16(data[i+1])<<8
			if big {
				u = u<<8 | u>>8
			}
			units = append(units, u)
		}
		data = []byte(string(utf16.Decode(units)))
	}
	return data, bytes.IndexByte(data[:min(len(data), 4096)], 0) < 0
}
