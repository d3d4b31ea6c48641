package vuln

import (
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Record is one advisory as an importer hands it to the Builder: what one
// issuer says of one vulnerability, or, for distributors who bundle, of
// several (Upstream). Importers hand everything on as it is; sorting, merging,
// keying and dropping is the Builder's work.
type Record struct {
	// ID is the issuer's own: "GHSA-...", "DSA-5000-1", "RHSA-2024:1234",
	// "CVE-2024-1". Required.
	ID string
	// Aliases are other ids of the very same vulnerability (OSV "aliases").
	Aliases []string
	// Upstream are the vulnerabilities the record bundles (OSV "upstream"; the
	// CVEs of a DSA, RHSA, USN; what AlmaLinux calls "related"). A match of the
	// record is a finding for each of them; ID becomes an alias of each. Empty:
	// the record itself is the vulnerability. OSV's other "related" ids are not
	// handed on: they are about something else.
	Upstream []string
	// Withdrawn records are counted and left out.
	Withdrawn, Published, Modified time.Time
	// Severity is the issuer's own word, Unknown when there is none.
	Severity scan.Severity
	// CVSS is one vector, with prefix ("CVSS:3.1/AV:N/..."; version 2 without).
	// Of several hand on 3.1, then 3.0, 4.0, 2.
	CVSS string
	// Source is the Name of the scan.Source given to Builder.Source.
	Source   string
	Affected []Affected

	// Prose: kept apart and read on demand, or not kept at all.
	Summary, Details, URL string
}

// Affected says which versions of one package a Record is about. A package may
// occur several times in a record; a version that any of them names is affected.
type Affected struct {
	// Ecosystem is OSV's, with release for operating systems ("Debian:12",
	// "Ubuntu:22.04:LTS", "npm"). Ecosystem in this package brings the many ways
	// to write one into one.
	Ecosystem string `json:"ecosystem"`
	Name      string `json:"name"` // as written by the issuer; the Builder normalizes
	By        By     `json:"-"`
	Status    Status `json:"status"`
	// Ranges are evaluated by the ecosystem's version order; Versions are exact
	// and hold besides the ranges. Both empty: every version, if Status is
	// Affected only when All is set, since an empty range in a broken record must
	// not flag everything. Unfixed, WontFix and UnderInvestigation need neither.
	Ranges   []Range  `json:"ranges,omitempty"`
	Versions []string `json:"versions,omitempty"`
	All      bool     `json:"all,omitempty"`
	// Severity overrides that of the record for this package (Debian urgency,
	// Ubuntu priority); Unknown: as the record says.
	Severity scan.Severity `json:"severity,omitempty"`
	// Module is "name:stream" of the rpm module the packages belong to. Empty
	// with a fix that is a modular build (".module_el8", ".module+el8"): the
	// stream that the record's Summary names, or any; only modular packages match.
	Module string `json:"module,omitempty"`
	// Arch are the architectures concerned, in the package manager's words; empty: all.
	Arch []string `json:"arch,omitempty"`
}

// By says which name of an installed package an advisory speaks of.
type By uint8

// Ways to name a package.
const (
	ByDefault By = iota // as the ecosystem does: see the table in ecosystem.go
	BySource            // the source package (dpkg source, apk origin, source rpm)
	ByBinary            // the installed package
)

// Status is what the issuer says of a package.
type Status uint8

// Statuses.
const (
	// IsAffected: the versions in Ranges and Versions are affected.
	IsAffected Status = iota
	// Unfixed: affected, and no fix is out yet. Ranges may narrow it.
	Unfixed
	// WontFix: affected, and the issuer will not fix it (scan.Unsupported).
	WontFix
	// NotAffected: the issuer says that this package is not affected. It
	// overrules an older or equally old statement that it is.
	NotAffected
	// UnderInvestigation: nobody knows yet; reported as affected without a fix.
	UnderInvestigation
)

var statuses = [...]string{"affected", "unfixed", "will_not_fix", "not_affected", "under_investigation"}

func (s Status) String() string {
	if int(s) >= len(statuses) {
		return "unknown"
	}
	return statuses[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Range is one interval of affected versions. The lower bound is inclusive. At
// most one of the upper bounds is set; none: open to the top. Ranges of type
// GIT are skipped and counted by importers.
type Range struct {
	Introduced   string `json:"introduced,omitempty"`   // "" or "0": from the first version
	Fixed        string `json:"fixed,omitempty"`        // first version that is not affected any more
	LastAffected string `json:"lastAffected,omitempty"` // last version that is; nobody knows the fix
	Limit        string `json:"limit,omitempty"`        // upper bound, exclusive, that is not a fix
}

// Event is one entry of an OSV range's "events": exactly one field is set.
type Event struct {
	Introduced, Fixed, LastAffected, Limit string
}

// Extra holds facts about a CVE that are not tied to a package.
type Extra struct {
	CVE  string
	KEV  *scan.KEV
	EPSS *scan.EPSS
	SSVC *scan.SSVC
	CVSS string // vector
}
