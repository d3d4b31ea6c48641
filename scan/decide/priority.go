package decide

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// overdue is how long a fix may be due before that counts.
const overdue = 30 * 24 * time.Hour

// tally adds points and says what for.
type tally struct {
	points  int
	reasons []string
}

// say adds points for a reason in fixed words, add for one with facts in it.
func (t *tally) say(points int, reason string) {
	t.points += points
	t.reasons = append(t.reasons, reason)
}

func (t *tally) add(points int, format string, args ...any) {
	t.say(points, fmt.Sprintf(format, args...))
}

// prioritize sets a finding's priority and reasons as the package comment
// tells. data is the database's newest fact; remark is what a VEX document says
// without settling the finding.
func prioritize(f *scan.Finding, data time.Time, baseKnown bool, ports []string, remark string) {
	if !counts(f.State) {
		f.Priority, f.Reasons = 0, []string{settled(f)}
		return
	}
	t := tally{reasons: make([]string, 0, 8)}
	t.severity(f)
	t.exploited(f)
	if s := f.SSVC; s != nil {
		if strings.EqualFold(s.Automatable, "yes") {
			t.say(2, "attack can be automated")
		}
		if strings.EqualFold(s.Impact, "total") {
			t.say(2, "total impact")
		}
	}
	switch {
	case f.Fix != "" && !f.Published.IsZero() && data.Sub(f.Published) >= overdue:
		t.add(7, "fixed in %s, known since %s", f.Fix, day(f.Published))
	case f.Fix != "":
		t.say(5, "fixed in "+f.Fix)
	case f.State == scan.Unsupported:
		t.say(0, "the distributor will not fix it")
	}
	switch {
	case f.Base:
		t.say(0, "comes with the base image")
	case baseKnown:
		t.say(4, "not from the base image")
	}
	if f.Used != nil {
		if *f.Used {
			t.say(12, "used at run time")
		} else {
			t.say(-10, "not seen running")
		}
	}
	if f.Exposed != nil {
		switch {
		case !*f.Exposed:
			t.say(-4, "not reached from outside")
		case len(ports) > 0:
			t.add(8, "reached from outside on %s", firstOf(ports, 5))
		default:
			t.say(8, "reached from outside")
		}
	}
	if remark != "" {
		t.say(0, remark)
	}
	f.Priority, f.Reasons = min(max(t.points, 0), 100), t.reasons
}

func settled(f *scan.Finding) string {
	if f.Decision == nil {
		return string(f.State)
	}
	return string(f.State) + " by " + f.Decision.By
}

func (t *tally) severity(f *scan.Finding) {
	score := f.Score
	if math.IsNaN(score) || score < 0 {
		score = 0
	}
	score = min(score, 10)
	word, name := f.Severity, f.Severity.String()
	if word <= scan.Unknown || word > scan.Critical {
		word, name = rated(score), "severity unknown"
	}
	if word == scan.Unknown {
		t.say(14, name)
		return
	}
	points := map[scan.Severity]int{scan.Negligible: 1, scan.Low: 8, scan.Medium: 16, scan.High: 26, scan.Critical: 36}[word]
	points += int(math.Round(score * 0.4))
	if score > 0 {
		name += ", CVSS " + strconv.FormatFloat(score, 'f', 1, 64)
	}
	t.say(points, name)
}

// rated gives the word that the CVSS specification has for a base score.
func rated(score float64) scan.Severity {
	switch {
	case score >= 9:
		return scan.Critical
	case score >= 7:
		return scan.High
	case score >= 4:
		return scan.Medium
	case score > 0:
		return scan.Low
	}
	return scan.Unknown
}

// exploited adds for the strongest sign of exploitation and names every one.
func (t *tally) exploited(f *scan.Finding) {
	best := 0
	if k := f.KEV; k != nil {
		best = 23
		text := "known to be exploited"
		if !k.Added.IsZero() {
			text += " since " + day(k.Added)
		}
		if k.Ransomware {
			best = 25
			text += ", by ransomware"
		}
		t.say(0, text+" (CISA KEV)")
	}
	if s := f.SSVC; s != nil {
		switch strings.ToLower(s.Exploitation) {
		case "active":
			best = max(best, 20)
			t.say(0, "active exploitation (SSVC)")
		case "poc":
			best = max(best, 5)
			t.say(0, "proof of concept is public (SSVC)")
		}
	}
	if e := f.EPSS; e != nil && e.Score > 0 {
		p := min(e.Score, 1)
		best = max(best, int(math.Round(20*math.Sqrt(p))))
		t.say(0, percent(p)+" likely to be exploited within 30 days (EPSS)")
	}
	t.points += best
}

func percent(p float64) string {
	if p < 0.01 {
		return "under 1%"
	}
	return strconv.Itoa(int(math.Round(p*100))) + "%"
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
