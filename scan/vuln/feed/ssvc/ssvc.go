// Package ssvc reads CISA's decision points for vulnerabilities
// (Stakeholder-Specific Vulnerability Categorization), with the CVSS vectors
// that come along: CVE records as CISA enriches them (Vulnrichment, JSON), or a
// table with one CVE per line.
//
// It knows of no package; the facts are tied to CVE ids.
package ssvc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// Head is the first line of the table; its columns are separated by tabs.
const Head = "#cve\texploitation\tautomatable\ttechnical_impact\tkev\tcvss"

const maxLine = 16 << 10

// Import reads a table or JSON records, whichever it is, and hands the facts
// to sink.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Extra) error) (intake.Stats, error) {
	br := bufio.NewReaderSize(r, maxLine)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return intake.Stats{}, fmt.Errorf("read SSVC: %w", err)
	}
	if bytes.Equal(head, []byte("#cve")) {
		return table(ctx, br, sink)
	}
	return records(ctx, br, sink)
}

func table(ctx context.Context, r io.Reader, sink func(vuln.Extra) error) (intake.Stats, error) {
	var s intake.Stats
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, maxLine), maxLine)
	if in.Scan() && strings.TrimSpace(in.Text()) != Head {
		return s, fmt.Errorf("read SSVC: head of the table is %.80q", in.Text())
	}
	for in.Scan() {
		if strings.TrimSpace(in.Text()) == "" {
			continue
		}
		s.Records++
		f := strings.Split(in.Text(), "\t")
		if len(f) != 6 {
			s.Refuse(f[0], fmt.Sprintf("%d fields instead of 6", len(f)))
			continue
		}
		e := vuln.Extra{CVE: intake.CVE(f[0])}
		p := points{exploitation: f[1], automatable: f[2], impact: f[3]}
		if err := give(ctx, e, p, f[4], []string{f[5]}, f[0], &s, sink); err != nil {
			return s, err
		}
	}
	if err := in.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line of more than %d bytes: %w", maxLine, intake.ErrTooBig)
		}
		return s, fmt.Errorf("read SSVC after record %d: %w", s.Records, err)
	}
	return s, nil
}

// points are CISA's words, as written.
type points struct{ exploitation, automatable, impact string }

// give checks the facts of one CVE and hands them on. kev is the day it came
// into the catalogue of exploited vulnerabilities, or empty.
func give(ctx context.Context, e vuln.Extra, p points, kev string, vectors []string, id string, s *intake.Stats, sink func(vuln.Extra) error) error {
	if e.CVE == "" {
		s.Refuse(id, "cve: no CVE id")
		return nil
	}
	v := scan.SSVC{
		Exploitation: word(p.exploitation, "none", "poc", "public poc", "active"),
		Automatable:  word(p.automatable, "no", "yes"),
		Impact:       word(p.impact, "partial", "total"),
	}
	if v.Exploitation == "public poc" {
		v.Exploitation = "poc"
	}
	for _, w := range []struct{ name, in, out string }{
		{"exploitation", p.exploitation, v.Exploitation}, {"automatable", p.automatable, v.Automatable}, {"technical impact", p.impact, v.Impact},
	} {
		if w.in != "" && w.out == "" {
			s.Note(e.CVE, fmt.Sprintf("%s: unknown word %.30q", w.name, w.in))
		}
	}
	if v != (scan.SSVC{}) {
		e.SSVC = &v
	}
	if kev != "" {
		added, err := intake.Time(kev)
		if err != nil {
			s.Note(e.CVE, "kev: "+err.Error())
		} else {
			e.KEV = &scan.KEV{Added: added}
		}
	}
	var best intake.Vectors
	for _, vec := range vectors {
		if vec != "" && !best.Add(vec) {
			s.Part("severity of unknown form")
		}
	}
	e.CVSS = best.Best()
	if e.SSVC == nil && e.KEV == nil && e.CVSS == "" {
		s.Skip("nothing known")
		return nil
	}
	if err := sink(e); err != nil {
		s.Refuse(e.CVE, err.Error())
		return ctx.Err()
	}
	s.Kept++
	return nil
}

// word gives a known word in small letters, or "".
func word(s string, known ...string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, k := range known {
		if s == k {
			return s
		}
	}
	return ""
}

// cveRecord holds what is used of a record of the CVE programme (version 5).
type cveRecord struct {
	Meta struct {
		ID      string `json:"cveId"`
		State   string `json:"state"`
		Updated string `json:"dateUpdated"`
	} `json:"cveMetadata"`
	Containers struct {
		CNA container   `json:"cna"`
		ADP []container `json:"adp"`
	} `json:"containers"`
}

type container struct {
	Metrics []struct {
		V2    *cvss  `json:"cvssV2_0"`
		V30   *cvss  `json:"cvssV3_0"`
		V31   *cvss  `json:"cvssV3_1"`
		V4    *cvss  `json:"cvssV4_0"`
		Other *other `json:"other"`
	} `json:"metrics"`
}

type cvss struct {
	Vector string `json:"vectorString"`
}

type other struct {
	Type    string          `json:"type"`
	Content json.RawMessage `json:"content"`
}

// read takes decision points and the KEV date from a metric of another kind;
// what has not the expected shape is not one of those.
func (o *other) read(p *points, kev *string) {
	switch strings.ToLower(o.Type) {
	case "ssvc":
		var c struct {
			Options []map[string]string `json:"options"`
		}
		if json.Unmarshal(o.Content, &c) != nil {
			return
		}
		for _, m := range c.Options {
			for k, v := range m {
				switch strings.ToLower(k) {
				case "exploitation":
					p.exploitation = v
				case "automatable":
					p.automatable = v
				case "technical impact":
					p.impact = v
				}
			}
		}
	case "kev":
		var c struct {
			Added string `json:"dateAdded"`
		}
		if json.Unmarshal(o.Content, &c) == nil {
			*kev = c.Added
		}
	}
}

func records(ctx context.Context, r io.Reader, sink func(vuln.Extra) error) (intake.Stats, error) {
	var s intake.Stats
	err := intake.Records(ctx, r, intake.DefaultLimits(), func(raw json.RawMessage) error {
		s.Records++
		var in cveRecord
		if err := json.Unmarshal(raw, &in); err != nil {
			s.Refuse(in.Meta.ID, err.Error())
			return ctx.Err()
		}
		if in.Meta.State == "REJECTED" {
			s.Skip("rejected")
			return nil
		}
		var p points
		var kev string
		var vectors []string
		for _, c := range append(in.Containers.ADP, in.Containers.CNA) {
			for _, m := range c.Metrics {
				for _, v := range []*cvss{m.V31, m.V30, m.V4, m.V2} {
					if v != nil {
						vectors = append(vectors, v.Vector)
					}
				}
				if m.Other != nil {
					m.Other.read(&p, &kev)
				}
			}
		}
		if t, err := intake.Time(in.Meta.Updated); err == nil {
			s.See(t)
		}
		return give(ctx, vuln.Extra{CVE: intake.CVE(in.Meta.ID)}, p, kev, vectors, in.Meta.ID, &s, sink)
	})
	if err != nil {
		return s, fmt.Errorf("read CVE records after record %d: %w", s.Records, err)
	}
	return s, nil
}
