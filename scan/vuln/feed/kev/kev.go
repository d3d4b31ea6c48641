// Package kev reads CISA's catalogue of vulnerabilities that are known to be
// exploited, in its JSON form.
//
// It knows of no package; the facts are tied to CVE ids.
package kev

import (
	"context"
	"fmt"
	"io"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

type entry struct {
	CVE        string `json:"cveID"`
	Added      string `json:"dateAdded"`
	Due        string `json:"dueDate"`
	Ransomware string `json:"knownRansomwareCampaignUse"`
}

// Import reads the catalogue and hands every entry to sink. A catalogue that
// ends early, or holds fewer entries than it says, is an error.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Extra) error) (intake.Stats, error) {
	var s intake.Stats
	d := intake.NewDecoder(ctx, r, intake.Limits{Value: 1 << 20})
	said, found := -1, false
	err := d.Members(func(key string) error {
		switch key {
		case "count":
			return d.Value(&said)
		case "dateReleased":
			var text string
			if err := d.Value(&text); err != nil {
				return err
			}
			t, err := intake.Time(text)
			s.See(t)
			return err
		case "vulnerabilities":
			found = true
			return d.Elements(func() error { return one(ctx, d, &s, sink) })
		}
		return d.Skip()
	})
	if err == nil {
		err = d.End()
	}
	switch {
	case err != nil:
		return s, fmt.Errorf("read KEV after record %d: %w", s.Records, err)
	case !found:
		return s, fmt.Errorf("read KEV: no \"vulnerabilities\" in it: is it the catalogue's JSON?")
	case said >= 0 && said != s.Records:
		return s, fmt.Errorf("read KEV: %d entries, but \"count\" is %d", s.Records, said)
	}
	return s, nil
}

func one(ctx context.Context, d *intake.Decoder, s *intake.Stats, sink func(vuln.Extra) error) error {
	s.Records++
	var e entry
	if err := d.Value(&e); err != nil {
		if !intake.Recoverable(err) {
			return err
		}
		s.Refuse(e.CVE, err.Error())
		return nil
	}
	cve := intake.CVE(e.CVE)
	added, err := intake.Time(e.Added)
	switch {
	case cve == "":
		s.Refuse(e.CVE, "cveID: no CVE id")
		return nil
	case err != nil:
		s.Refuse(cve, "dateAdded: "+err.Error())
		return nil
	}
	due, err := intake.Time(e.Due)
	if err != nil {
		s.Note(cve, "dueDate: "+err.Error())
	}
	if err := sink(vuln.Extra{CVE: cve, KEV: &scan.KEV{Added: added, Due: due, Ransomware: e.Ransomware == "Known"}}); err != nil {
		s.Refuse(cve, err.Error())
		return ctx.Err()
	}
	s.Kept++
	s.See(added)
	return nil
}
