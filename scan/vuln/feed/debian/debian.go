// Package debian reads the JSON of Debian's security tracker: what Debian
// knows of every CVE in every source package and release.
//
// It is not for DSA and DLA texts. The one idea: the tracker has one statement
// for each (package, CVE, release), fixed, open or not affected, and each
// becomes one Affected; the statements about one CVE are parts of one record.
package debian

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

//go:embed releases.tsv
var releases string

type issue struct {
	Description string             `json:"description"`
	Releases    map[string]release `json:"releases"`
}

type release struct {
	Status  string `json:"status"`
	Fixed   string `json:"fixed_version"`
	Urgency string `json:"urgency"`
	NoDSA   string `json:"nodsa_reason"`
}

// Import reads the tracker's JSON and hands one record per package and CVE to
// sink, in the order of the document. Records with the same id are parts of
// one advisory, which the Builder adds up.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Record) error) (intake.Stats, error) {
	var s intake.Stats
	numbers := table()
	d := intake.NewDecoder(ctx, r, intake.Limits{})
	err := d.Members(func(pkg string) error {
		return d.Members(func(id string) error {
			s.Records++
			var in issue
			if err := d.Value(&in); err != nil {
				if !intake.Recoverable(err) {
					return err
				}
				s.Refuse(id, pkg+": "+err.Error())
				return nil
			}
			return one(ctx, pkg, id, &in, numbers, &s, sink)
		})
	})
	if err == nil {
		err = d.End()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return s, fmt.Errorf("read Debian tracker after record %d: %w", s.Records, err)
	}
	return s, nil
}

// table reads the embedded list of releases.
func table() map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(releases) {
		name, number, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if ok && name[0] != '#' {
			m[name] = "Debian:" + number
		}
	}
	return m
}

func one(ctx context.Context, pkg, id string, in *issue, numbers map[string]string, s *intake.Stats, sink func(vuln.Record) error) error {
	out := vuln.Record{ID: intake.ID(id), Details: in.Description}
	if out.ID == "" || pkg == "" {
		s.Refuse(id, fmt.Sprintf("%.60q in package %.60q is no id", id, pkg))
		return nil
	}
	if strings.HasPrefix(out.ID, "CVE-") {
		out.URL = "https://security-tracker.debian.org/tracker/" + out.ID
	}
	for _, name := range slices.Sorted(maps.Keys(in.Releases)) {
		r := in.Releases[name]
		ecosystem, ok := numbers[name]
		if !ok {
			s.Part("release of unknown name")
			continue
		}
		a := vuln.Affected{Ecosystem: ecosystem, Name: pkg, By: vuln.BySource, Severity: intake.Severity(r.Urgency)}
		if why := r.state(&a); why != "" {
			s.Part(why)
			continue
		}
		out.Affected = append(out.Affected, a)
	}
	if len(out.Affected) == 0 {
		s.Skip("no statement about a known release")
		return nil
	}
	if err := sink(out); err != nil {
		s.Refuse(out.ID, pkg+": "+err.Error())
		return ctx.Err()
	}
	s.Kept++
	return nil
}

// state reads what the tracker says about one release.
func (r release) state(a *vuln.Affected) (why string) {
	switch r.Status {
	case "resolved":
		switch r.Fixed {
		case "":
			return "resolved without a version"
		case "0":
			a.Status = vuln.NotAffected
		default:
			a.Ranges = []vuln.Range{{Fixed: r.Fixed}}
		}
	case "open":
		a.Status = vuln.Unfixed
		if r.Urgency == "end-of-life" || r.NoDSA == "ignored" {
			a.Status = vuln.WontFix
		}
	case "undetermined":
		a.Status = vuln.UnderInvestigation
	default:
		return "status of unknown name"
	}
	return ""
}
