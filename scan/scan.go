// Package scan holds the values of the supply chain: what is in an image, what
// is known to be wrong with it, and what was decided about it.
//
// It computes next to nothing; the rooms below it do (image opens, walk reads,
// inventory extracts, vuln matches, decide ranks, report prints, engine wires
// them). The one idea: a Report is a pure function of the content, the database
// and the decisions, so the same three give the same bytes, and everything that
// could not be read is a Gap in it, never an absence.
package scan

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kind says what was scanned.
type Kind string

// Kinds of scanned things.
const (
	Registry      Kind = "registry"
	DockerArchive Kind = "docker-archive"
	OCILayout     Kind = "oci-layout"
	OCIArchive    Kind = "oci-archive"
	Directory     Kind = "directory"
	Container     Kind = "container" // a running one, by its image's layers
	Daemon        Kind = "daemon"    // an image in containerd or Docker
	SBOM          Kind = "sbom"
)

// Image is what was scanned, as its own metadata tells it. A directory and an
// SBOM have a Name and a Kind only.
type Image struct {
	Name     string   `json:"name"` // as asked for: reference or path
	Kind     Kind     `json:"kind"`
	Digest   string   `json:"digest,omitempty"`   // of the manifest: "sha256:..."
	ConfigID string   `json:"configID,omitempty"` // digest of the configuration ("image id")
	Tags     []string `json:"tags,omitempty"`     // repository:tag, where the source tells
	Platform string   `json:"platform,omitempty"` // "linux/amd64", "linux/arm64/v8"
	Layers   []Layer  `json:"layers,omitempty"`   // lowest first
	Config   Config   `json:"config,omitzero"`
}

// Layer is one file-system layer of an image.
type Layer struct {
	Digest    string `json:"digest"` // of the blob as transported
	DiffID    string `json:"diffID"` // of the uncompressed tar
	Size      int64  `json:"size"`   // bytes of the blob
	MediaType string `json:"mediaType,omitempty"`
	Command   string `json:"command,omitempty"` // what made it, from the history
	Base      bool   `json:"base,omitempty"`    // part of the base image, when that is known
}

// Config is the part of an image's configuration that people judge.
type Config struct {
	Created      time.Time         `json:"created,omitzero"`
	User         string            `json:"user,omitempty"`
	Env          []string          `json:"env,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	WorkingDir   string            `json:"workingDir,omitempty"`
	ExposedPorts []string          `json:"exposedPorts,omitempty"` // "8080/tcp"
	Volumes      []string          `json:"volumes,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Healthcheck  []string          `json:"healthcheck,omitempty"` // Test of the health check
	History      []History         `json:"history,omitempty"`     // oldest first
}

// History is one step of the build. Steps with Empty set made no layer.
type History struct {
	Created time.Time `json:"created,omitzero"`
	Command string    `json:"command,omitempty"`
	Comment string    `json:"comment,omitempty"`
	Empty   bool      `json:"empty,omitempty"`
}

// Release is the operating system of an image, from os-release.
type Release struct {
	ID       string   `json:"id"`                 // "debian", "alpine", "rhel"
	Version  string   `json:"version,omitempty"`  // "12", "3.19.1", "9.4"
	Codename string   `json:"codename,omitempty"` // "bookworm"
	Name     string   `json:"name,omitempty"`     // PRETTY_NAME
	Like     []string `json:"like,omitempty"`     // ID_LIKE
	// Ecosystem is the advisory ecosystem its packages belong to, with release
	// ("Debian:12", "Alpine:v3.19", "Red Hat:9", "AlmaLinux:9", "Ubuntu:22.04");
	// empty: inventory only, and then Gaps say so.
	Ecosystem string `json:"ecosystem,omitempty"`
}

// Package is one piece of software that is in an image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"` // complete, with epoch where there is one: "1:2.3-4"
	// Ecosystem is that of OSV, with release for operating systems: "npm",
	// "Maven", "Go", "PyPI", "Debian:12"; "Binary" for programs known by their
	// bytes alone; empty when nobody issues advisories for it.
	Ecosystem string `json:"ecosystem,omitempty"`
	PURL      string `json:"purl,omitempty"`
	// Source is the source package and its version when they differ from Name
	// and Version (dpkg, rpm, apk origin).
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
	Arch          string `json:"arch,omitempty"`
	// Module is the modularity label of an rpm, "name:stream:version:context".
	Module   string   `json:"module,omitempty"`
	Licenses []string `json:"licenses,omitempty"` // SPDX expressions where they could be read as such
	// Found names the extractor, Path the file it read ("/var/lib/dpkg/status").
	// Packages inside archives have a Path such as "/app.jar!/lib/x.jar".
	Found string `json:"found"`
	Path  string `json:"path"`
	// Layer is the index into Image.Layers that brought it, or -1.
	Layer int `json:"layer"`
	// Dev marks development dependencies of a lock file.
	Dev bool `json:"dev,omitempty"`
	// Programs are the executables and libraries of this package, absolute
	// paths, where the package database lists them.
	Programs []string `json:"programs,omitempty"`
}

// compare orders packages: the same software twice in one place is one.
func (p *Package) compare(o *Package) int {
	return cmp.Or(cmp.Compare(p.Ecosystem, o.Ecosystem), cmp.Compare(p.Name, o.Name), cmp.Compare(p.Version, o.Version),
		cmp.Compare(p.Arch, o.Arch), cmp.Compare(p.Path, o.Path), cmp.Compare(p.PURL, o.PURL))
}

// File is an executable or library of the merged file system.
type File struct {
	Path   string `json:"path"`   // absolute
	Digest string `json:"digest"` // "sha256:..." of the content
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode"` // permission bits with setuid 04000, setgid 02000, sticky 01000
	UID    int    `json:"uid,omitempty"`
	Kind   string `json:"kind"` // "elf", "library", "script"
	Layer  int    `json:"layer"`
}

// Inventory is what an image contains once its layers are laid over each other.
type Inventory struct {
	Release  Release   `json:"release,omitzero"`
	Packages []Package `json:"packages"`
	Files    []File    `json:"files,omitempty"`
	// Users are the names and ids of /etc/passwd ("root" -> 0).
	Users   map[string]int `json:"users,omitempty"`
	Secrets []Secret       `json:"secrets,omitempty"`
	Gaps    []Gap          `json:"gaps,omitempty"`
}

// Gap is something that could not be examined. A report with a gap that is not
// Minor is incomplete (exit code 3).
type Gap struct {
	Where string `json:"where"` // path, layer digest, plugin, host
	What  string `json:"what"`  // what happened
	// Means says what the report cannot know because of it.
	Means string `json:"means,omitempty"`
	// Do says what a person can do.
	Do string `json:"do,omitempty"`
	// Minor gaps are told but leave the report complete.
	Minor bool `json:"minor,omitempty"`
	// Judging gaps come of the database or of decisions, not of the content:
	// another database may close them, so they do not go into bills of materials.
	Judging bool `json:"judging,omitempty"`
}

// Severity is how bad a finding is by itself.
type Severity int

// Severities.
const (
	Unknown Severity = iota
	Negligible
	Low
	Medium
	High
	Critical
)

var severities = []string{"unknown", "negligible", "low", "medium", "high", "critical"}

func (s Severity) String() string {
	if s < Unknown || s > Critical {
		return severities[Unknown]
	}
	return severities[s]
}

// ParseSeverity reads the word that String writes, in any case.
func ParseSeverity(word string) (Severity, bool) {
	i := slices.Index(severities, strings.ToLower(word))
	return Severity(max(i, 0)), i >= 0
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; unknown words are Unknown.
func (s *Severity) UnmarshalText(b []byte) error {
	*s, _ = ParseSeverity(string(b))
	return nil
}

// Advisory is what the database says of one vulnerability for one package.
type Advisory struct {
	// ID is the canonical one: the CVE when there is one, else the issuer's.
	ID string `json:"id"`
	// Aliases are all other ids, sorted; the issuer's own (DSA, GHSA, RHSA) too.
	Aliases  []string `json:"aliases,omitempty"`
	Severity Severity `json:"severity"`
	CVSS     string   `json:"cvss,omitempty"`  // vector
	Score    float64  `json:"score,omitempty"` // base score of CVSS
	// Source names the data set ("debian-tracker", "osv:npm").
	Source    string    `json:"source"`
	Published time.Time `json:"published,omitzero"`
	Modified  time.Time `json:"modified,omitzero"`
	KEV       *KEV      `json:"kev,omitempty"`
	EPSS      *EPSS     `json:"epss,omitempty"`
	SSVC      *SSVC     `json:"ssvc,omitempty"`
	Summary   string    `json:"summary,omitempty"` // only in databases with prose
	URL       string    `json:"url,omitempty"`
}

// KEV says that exploitation was seen (CISA's catalogue).
type KEV struct {
	Added      time.Time `json:"added,omitzero"`
	Due        time.Time `json:"due,omitzero"`
	Ransomware bool      `json:"ransomware,omitempty"`
}

// EPSS estimates the probability of exploitation within 30 days.
type EPSS struct {
	Score      float64   `json:"score"`      // 0..1
	Percentile float64   `json:"percentile"` // 0..1
	Date       time.Time `json:"date,omitzero"`
}

// SSVC holds CISA's decision points.
type SSVC struct {
	Exploitation string `json:"exploitation,omitempty"` // none, poc, active
	Automatable  string `json:"automatable,omitempty"`  // yes, no
	Impact       string `json:"impact,omitempty"`       // partial, total
}

// State is what counts of a finding after every decision.
type State string

// States of a finding. Only Open ones can fail a scan.
const (
	Open        State = "open"
	Ignored     State = "ignored"      // by a rule or an Exception that is in force
	NotAffected State = "not_affected" // by VEX
	Fixed       State = "fixed"        // by VEX
	Unsupported State = "will_not_fix" // the distributor says so; counts as Open for --fail-on
)

// Finding is one vulnerability in one package.
type Finding struct {
	Advisory
	// Package is the index into Report.Packages.
	Package int `json:"package"`
	// Fix is the lowest version that is fixed for this package's line, empty
	// when there is none.
	Fix   string `json:"fix,omitempty"`
	State State  `json:"state"`
	// Decision says who decided when State is not Open.
	Decision *Decision `json:"decision,omitempty"`
	// Priority is what to look at first, 0 (nothing) to 100, with its reasons.
	Priority int      `json:"priority"`
	Reasons  []string `json:"reasons,omitempty"`
	// Base: the base image brought it. Used: a program of the package was seen
	// running. Exposed: a workload of the image was reached from outside. The
	// last two are nil when nobody watched.
	Base    bool  `json:"base,omitempty"`
	Used    *bool `json:"used,omitempty"`
	Exposed *bool `json:"exposed,omitempty"`
}

// Decision is why a finding does not count.
type Decision struct {
	By      string    `json:"by"`              // "ignore file .gabionignore.yaml:3", "Exception/web", "VEX doc.json"
	Owner   string    `json:"owner,omitempty"` // person or team
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires,omitzero"`
}

// Secret is a credential found in a layer, the configuration or the history.
// The secret itself is never in it.
type Secret struct {
	Detector string   `json:"detector"` // "aws-access-key"
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	// Where is a path, "env NAME", "history 3", "label NAME".
	Where  string `json:"where"`
	Line   int    `json:"line,omitempty"`
	Masked string `json:"masked"` // first characters, then stars
	// Fingerprint tells the same secret again, without telling it: the first 16
	// hex digits of an HMAC keyed by the detector's name.
	Fingerprint string `json:"fingerprint"`
	Layer       int    `json:"layer"` // -1: not in a layer
	// Deleted: a later layer removed the file, yet it can be pulled.
	Deleted  bool      `json:"deleted,omitempty"`
	State    State     `json:"state"`
	Decision *Decision `json:"decision,omitempty"`
}

// Check is the result of one judgement of the image's own configuration.
type Check struct {
	ID       string    `json:"id"`
	Title    string    `json:"title"`
	Severity Severity  `json:"severity"`
	Status   string    `json:"status"` // pass, fail, unknown
	Evidence []string  `json:"evidence,omitempty"`
	Remedy   string    `json:"remedy,omitempty"`
	Refs     []string  `json:"refs,omitempty"` // "CIS Docker 1.6.0 4.1"
	State    State     `json:"state"`
	Decision *Decision `json:"decision,omitempty"`
}

// License is a licence of packages and the verdict on it.
type License struct {
	License  string `json:"license"`  // SPDX id, or the text as found
	Packages []int  `json:"packages"` // indices into Report.Packages
	Verdict  string `json:"verdict"`  // allowed, denied, unlisted, excepted
	// Decision is what excepts packages whose licence is denied.
	Decision *Decision `json:"decision,omitempty"`
}

// Signature is one signature or attestation on the image.
type Signature struct {
	Kind      string    `json:"kind"` // "sigstore", "notation", "attestation"
	Valid     bool      `json:"valid"`
	Why       string    `json:"why,omitempty"`      // when not valid
	Identity  string    `json:"identity,omitempty"` // certificate's subject
	Issuer    string    `json:"issuer,omitempty"`
	KeyID     string    `json:"keyID,omitempty"`
	Predicate string    `json:"predicate,omitempty"` // type of an attestation
	SignedAt  time.Time `json:"signedAt,omitzero"`
}

// Database says what a report was matched against.
type Database struct {
	Digest     string    `json:"digest"`
	Built      time.Time `json:"built"` // when it was made
	Data       time.Time `json:"data"`  // newest fact in it
	Advisories int       `json:"advisories"`
	Packages   int       `json:"packages"`
	Embedded   bool      `json:"embedded,omitempty"`
	Sources    []Source  `json:"sources,omitempty"`
}

// Source is one data set in a database.
type Source struct {
	Name       string    `json:"name"`
	Licence    string    `json:"licence"`
	Data       time.Time `json:"data"` // newest record
	Advisories int       `json:"advisories"`
	Partial    string    `json:"partial,omitempty"` // what is missing of it
}

// Report is everything that is known of one scanned thing.
type Report struct {
	Schema     string      `json:"schema"` // ReportSchema
	Tool       string      `json:"tool"`   // "gabion 1.2.3"
	Image      Image       `json:"image"`
	Release    Release     `json:"release,omitzero"`
	Base       *Base       `json:"base,omitempty"`
	Database   Database    `json:"database,omitzero"`
	Packages   []Package   `json:"packages"`
	Findings   []Finding   `json:"findings"`
	Secrets    []Secret    `json:"secrets"`
	Checks     []Check     `json:"checks"`
	Licenses   []License   `json:"licenses,omitempty"`
	Signatures []Signature `json:"signatures,omitempty"`
	Files      []File      `json:"files,omitempty"`
	Plan       []Step      `json:"plan,omitempty"`
	Violations []Violation `json:"violations"`
	Gaps       []Gap       `json:"gaps"`
}

// ReportSchema names the shape of Report.
const ReportSchema = "https://gabion.dev/schema/scan-report/v1"

// Base is what is known of the base image.
type Base struct {
	Name   string `json:"name,omitempty"`
	Digest string `json:"digest,omitempty"`
	Layers int    `json:"layers"` // how many of the lowest are its
	// How it was found out: "given", "label", "history" (guessed), "label+history".
	How string `json:"how"`
}

// Step is one thing to do that closes findings, best first.
type Step struct {
	Do     string   `json:"do"`     // "upgrade npm lodash 4.17.20 to 4.17.21"
	Where  string   `json:"where"`  // path or "base image"
	Closes []string `json:"closes"` // ids, sorted
	// Worst is the highest severity among them; Priority the highest priority.
	Worst    Severity `json:"worst"`
	Priority int      `json:"priority"`
}

// Violation is one reason why the scan fails.
type Violation struct {
	Rule   string `json:"rule"`   // "--fail-on high", "secrets", "licence GPL-3.0-only"
	Object string `json:"object"` // "CVE-2021-44228 in log4j-core 2.14.1"
}

// Incomplete reports whether something that matters could not be examined.
func (r *Report) Incomplete() bool {
	return slices.ContainsFunc(r.Gaps, func(g Gap) bool { return !g.Minor })
}

// Sort brings everything into its one order, so that equal reports have equal
// bytes. Packages must be sorted before findings refer to them: see
// SortPackages.
func (r *Report) Sort() {
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package), cmp.Compare(a.Source, b.Source))
	})
	slices.SortFunc(r.Secrets, func(a, b Secret) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Detector, b.Detector), cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.Layer, b.Layer))
	})
	slices.SortFunc(r.Checks, func(a, b Check) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(r.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(r.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.What, b.What))
	})
	slices.SortFunc(r.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Object, b.Object))
	})
}

// SortPackages sorts by ecosystem, name, version, architecture and path, and
// drops doubles.
func SortPackages(p []Package) []Package {
	slices.SortFunc(p, func(a, b Package) int { return a.compare(&b) })
	return slices.CompactFunc(p, func(a, b Package) bool { return a.compare(&b) == 0 })
}
