package intake

import (
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// CVE finds a CVE id in a word as people write it ("CVE-2017-8073.patch",
// "CVE_2019-2426", "cve-2024-1234") and gives its proper form, or "".
func CVE(s string) string {
	if len(s) < 3 || !strings.EqualFold(s[:3], "cve") {
		return ""
	}
	rest := s[3:]
	year, rest, ok := number(rest)
	if !ok || len(year) != 4 {
		return ""
	}
	n, _, ok := number(rest)
	if !ok || len(n) < 4 || len(n) > 12 {
		return ""
	}
	return "CVE-" + year + "-" + n
}

// number takes a dash or an underscore and the digits behind it.
func number(s string) (digits, rest string, ok bool) {
	if s == "" || (s[0] != '-' && s[0] != '_') {
		return "", s, false
	}
	end := 1
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	return s[1:end], s[end:], end > 1
}

// ID gives an advisory id in its proper form, or "" when it cannot be one: ids
// are words of printable ASCII with a digit in them (of GitHub's, some have
// none), of at most 128 bytes. The letters of CVE ids are large.
func ID(s string) string {
	s = strings.TrimRight(strings.TrimSpace(s), ",;")
	if s == "" || len(s) > 128 || !strings.ContainsAny(s, "0123456789") && !(strings.HasPrefix(s, "GHSA-") && len(s) == 19) {
		return ""
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' || s[i] == '"' || s[i] == '?' {
			return ""
		}
	}
	if c := CVE(s); c != "" {
		return c
	}
	return s
}

// Severity reads the words that issuers use.
func Severity(word string) scan.Severity {
	switch strings.ToLower(strings.TrimRight(strings.TrimSpace(word), "*")) {
	case "critical":
		return scan.Critical
	case "high", "important", "severe":
		return scan.High
	case "medium", "moderate":
		return scan.Medium
	case "low", "minor":
		return scan.Low
	case "negligible", "unimportant", "none":
		return scan.Negligible
	}
	return scan.Unknown
}

// Score gives the severity that CVSS 3 and 4 name a base score.
func Score(score float64) scan.Severity {
	switch {
	case score >= 9 && score <= 10:
		return scan.Critical
	case score >= 7 && score < 9:
		return scan.High
	case score >= 4 && score < 7:
		return scan.Medium
	case score > 0 && score < 4:
		return scan.Low
	}
	return scan.Unknown
}

// Vectors picks the one CVSS vector to hand on: 3.1, else 3.0, 4.0, 2.
type Vectors struct {
	best string
	rank int
}

// Add offers a vector; anything else is passed over and reported as false.
func (v *Vectors) Add(vector string) bool {
	vector = strings.TrimSpace(vector)
	rank := 0
	switch {
	case len(vector) > 300:
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		rank = 4
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		rank = 3
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		rank = 2
	case strings.HasPrefix(vector, "AV:") && strings.Contains(vector, "/Au:"):
		rank = 1
	}
	if rank > v.rank {
		v.best, v.rank = vector, rank
	}
	return rank > 0
}

// Best is the vector picked, or "".
func (v *Vectors) Best() string { return v.best }
