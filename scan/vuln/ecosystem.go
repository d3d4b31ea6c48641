package vuln

import "github.com/gabion-dev/gabion/scan/vuln/version"

// Ecosystem brings the ways in which feeds and inventories write an ecosystem
// into one: "Ubuntu:22.04:LTS" and "Ubuntu:22.04" are one, "Red
// Hat:enterprise_linux:9::appstream" is "Red Hat:9".
func Ecosystem(s string) string { return s }

// FromEvents turns the events of an OSV range (types SEMVER and ECOSYSTEM) into
// intervals by OSV's own rule: sorted by version, "introduced" opens, every
// other kind closes.
func FromEvents(ecosystem string, events []Event) ([]Range, error) {
	_, err := version.Compare(ecosystem, "", "")
	return nil, err
}
