package decide

import "github.com/gabion-dev/gabion/scan"

// Difference is what changed from one report to another. Lists are sorted and
// empty when nothing changed.
type Difference struct {
	Old, New Side
	Packages struct {
		Added, Removed []scan.Package
		Changed        []PackageChange
	}
	Findings struct{ New, Fixed, Still []FindingIn }
	Secrets  struct{ New, Gone []scan.Secret }
	Checks   struct{ New, Fixed []scan.Check }
	Licenses struct{ New, Gone []scan.License }
	Config   []Change
	Layers   LayerChange
}

// Side names one of the two reports.
type Side struct {
	Name, Digest, Release, Database string
	Incomplete                      bool // what is missing may have been unseen
}

// PackageChange is a package with another version in the same place.
type PackageChange struct {
	Ecosystem, Name, Path string
	Old, New              string // versions
}

// FindingIn is a finding with its package.
type FindingIn struct {
	scan.Finding
	In scan.Package
}

// Change is a value of the configuration that changed; "" is none.
type Change struct {
	Field, Old, New string
}

// LayerChange counts layers.
type LayerChange struct {
	Same, Added, Removed int
}

// Diff compares two reports.
func Diff(old, new *scan.Report) Difference { return Difference{} }
