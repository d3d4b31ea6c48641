package vuln

import (
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/gabion-dev/gabion/scan"
)

// maxVector bounds a CVSS vector; the longest of version 4 has some 200 bytes.
const maxVector = 400

// Score gives the score of a CVSS vector, 0 to 10, and its severity by the
// scale of the specification (none is Negligible). ok is false when the vector
// cannot be read.
func Score(vector string) (score float64, severity scan.Severity, ok bool) {
	if len(vector) > maxVector {
		return 0, scan.Unknown, false
	}
	switch {
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		if v, err := gocvss40.ParseVector(vector); err == nil {
			score, ok = v.Score(), true
		}
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		if v, err := gocvss31.ParseVector(vector); err == nil {
			score, ok = v.BaseScore(), true
		}
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		if v, err := gocvss30.ParseVector(vector); err == nil {
			score, ok = v.BaseScore(), true
		}
	default:
		if v, err := gocvss20.ParseVector(vector); err == nil {
			score, ok = v.BaseScore(), true
		}
	}
	if !ok {
		return 0, scan.Unknown, false
	}
	switch {
	case score >= 9:
		severity = scan.Critical
	case score >= 7:
		severity = scan.High
	case score >= 4:
		severity = scan.Medium
	case score > 0:
		severity = scan.Low
	default:
		severity = scan.Negligible
	}
	return score, severity, true
}
