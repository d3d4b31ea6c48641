// Package ubuntu reads the OSV records that Canonical publishes: one per CVE
// (what osv.dev calls UBUNTU-CVE) and one per notice (USN).
//
// It is package osv with what is special to Ubuntu: notices about live patches
// concern running kernels and not packages, and releases under a subscription
// ("Ubuntu:Pro:18.04:LTS") stay apart from those without, since their fixes
// are for subscribers only.
package ubuntu

import (
	"context"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
	"github.com/gabion-dev/gabion/scan/vuln/feed/osv"
)

// Import reads records and hands them to sink; see osv.Import.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Record) error) (intake.Stats, error) {
	return osv.ImportOnly(ctx, r, judge, sink)
}

func judge(r *vuln.Record) (skip string) {
	if strings.HasPrefix(r.ID, "LSN-") {
		return "live patch"
	}
	for i := range r.Affected {
		a := &r.Affected[i]
		if !strings.HasPrefix(a.Ecosystem, "Ubuntu:") {
			return "not about Ubuntu"
		}
		a.By = vuln.BySource
		// Ubuntu lists every version that was ever published; where the range is
		// there, they say nothing more.
		if len(a.Ranges) > 0 {
			a.Versions = nil
		}
		if len(a.Ranges) == 1 && a.Ranges[0].Fixed+a.Ranges[0].LastAffected+a.Ranges[0].Limit == "" {
			a.Status = vuln.Unfixed
		}
	}
	return ""
}
