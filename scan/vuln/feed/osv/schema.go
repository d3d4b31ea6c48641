package osv

import (
	"encoding/json"

	"github.com/gabion-dev/gabion/scan/vuln"
)

// record holds the fields of an OSV record that are used; others are passed
// over. https://ossf.github.io/osv-schema/
type record struct {
	ID               string          `json:"id"`
	Modified         string          `json:"modified"`
	Published        string          `json:"published"`
	Withdrawn        string          `json:"withdrawn"`
	Aliases          []string        `json:"aliases"`
	Upstream         []string        `json:"upstream"`
	Related          []string        `json:"related"`
	Summary          string          `json:"summary"`
	Details          string          `json:"details"`
	Severity         []severity      `json:"severity"`
	Affected         []affected      `json:"affected"`
	References       []reference     `json:"references"`
	DatabaseSpecific json.RawMessage `json:"database_specific"`
}

type severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

type reference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity          []severity      `json:"severity"`
	Ranges            []versions      `json:"ranges"`
	Versions          []string        `json:"versions"`
	EcosystemSpecific json.RawMessage `json:"ecosystem_specific"`
	DatabaseSpecific  json.RawMessage `json:"database_specific"`
}

type versions struct {
	Type   string  `json:"type"`
	Events []event `json:"events"`
}

type event struct {
	Introduced   string `json:"introduced"`
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
	Limit        string `json:"limit"`
}

// split adds the events of one entry: the schema allows one, some records have
// a pair.
func (e event) split(to []vuln.Event) []vuln.Event {
	for _, one := range []vuln.Event{{Introduced: e.Introduced}, {Fixed: e.Fixed}, {LastAffected: e.LastAffected}, {Limit: e.Limit}} {
		if one != (vuln.Event{}) {
			to = append(to, one)
		}
	}
	return to
}

// specific is what several data sets put into the free-form parts of a record
// and of an affected package. Every data set has its own types there, so each
// field is read by itself.
type specific struct {
	severity      string
	urgency       string
	informational string
	score         float64
	lastKnown     string
	vulnerable    *string
	patched       []string
	patchedText   string
	unaffected    []string
	isGem         bool
}

func (s *specific) read(raw json.RawMessage) {
	if len(raw) == 0 || raw[0] != '{' {
		return
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return
	}
	take := func(key string, v any) bool {
		r, ok := m[key]
		return ok && string(r) != "null" && json.Unmarshal(r, v) == nil
	}
	take("severity", &s.severity)
	take("urgency", &s.urgency)
	take("informational", &s.informational)
	take("cvss_v3", &s.score)
	take("last_known_affected_version_range", &s.lastKnown)
	var text string
	if take("vulnerable_versions", &text) {
		s.vulnerable = &text
	}
	if !take("patched_versions", &s.patched) {
		take("patched_versions", &s.patchedText)
	} else {
		s.isGem = true
	}
	if take("unaffected_versions", &s.unaffected) {
		s.isGem = true
	}
}
