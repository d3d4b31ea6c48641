// Package version knows the order of versions in every ecosystem that
// advisories are written for.
//
// It is not for ranges or requirements ("^1.2", ">= 3"); importers turn those
// into bounds. The one idea: a version becomes a key, and keys compare as
// bytes, so that an order is worked out once, when a database is built, and a
// comparison is a bytes.Compare afterwards. Wherever an order pads the shorter
// version with zeros, the key leaves trailing zeros out and says after a run of
// zeros on which side of the padding the run ends (see zeros in encode.go).
package version

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is in the chain of every error about a version that its
// ecosystem cannot read.
var ErrInvalid = errors.New("not a version of this ecosystem")

// ErrUnknown is in the chain of errors about ecosystems whose order is not
// known here.
var ErrUnknown = errors.New("version order not known")

// MaxLength is the longest version that is read, in bytes.
const MaxLength = 512

// Scheme is one way to order versions. Ecosystems share schemes.
type Scheme uint8

// Schemes. The numbers are part of the database format: never reuse one.
const (
	None     Scheme = iota
	Dpkg            // deb-version(7)
	RPM             // rpmvercmp with epoch, tilde and caret
	APK             // apk-tools
	SemVer          // semver.org 2.0.0, leniently
	Go              // SemVer, and the toolchain's own "go1.22rc1"
	Pub             // SemVer whose build metadata counts
	Python          // PEP 440
	Maven           // Maven's ComparableVersion
	NuGet           // four numbers, and prereleases without case
	Ruby            // Gem::Version
	Composer        // Composer's normalization over PHP's version_compare
	Numbers         // dotted numbers (Hackage, CRAN)
	Upstream        // what programs call themselves: 1.1.1w, 3.12.0rc1
)

// SchemeOf gives the scheme of an ecosystem, None when it is not known. The
// release ("Debian:12") does not matter.
func SchemeOf(ecosystem string) Scheme {
	base, _, _ := strings.Cut(ecosystem, ":")
	switch base {
	case "Debian", "Ubuntu", "Echo", "Raspbian":
		return Dpkg
	case "Red Hat", "AlmaLinux", "Rocky Linux", "Oracle Linux", "CentOS Stream", "Fedora", "Amazon Linux",
		"SUSE", "SUSE Linux Enterprise", "SUSE Linux Enterprise Micro", "openSUSE", "Photon OS", "Azure Linux", "Mageia", "openEuler", "Arch Linux":
		return RPM
	case "Alpine", "Alpaquita", "BellSoft Hardened Containers", "Wolfi", "Chainguard", "MinimOS", "postmarketOS":
		return APK
	case "Go":
		return Go
	case "npm", "crates.io", "Hex", "SwiftURL", "ConanCenter", "Bioconductor", "GHC", "Julia", "GitHub Actions", "VSCode", "opam":
		return SemVer
	case "Pub":
		return Pub
	case "PyPI":
		return Python
	case "Maven":
		return Maven
	case "NuGet":
		return NuGet
	case "RubyGems":
		return Ruby
	case "Packagist":
		return Composer
	case "Hackage", "CRAN":
		return Numbers
	case "Bitnami", "Binary", "DHI", "Docker Hardened Images":
		return Upstream
	}
	return None
}

// Key gives the order-preserving key of a version: for two versions of one
// ecosystem, bytes.Compare of their keys is the ecosystem's own order.
func Key(ecosystem, version string) ([]byte, error) {
	s := SchemeOf(ecosystem)
	if s == None {
		return nil, fmt.Errorf("order versions of %q: %w", ecosystem, ErrUnknown)
	}
	return s.Append(nil, version)
}

// Compare gives -1, 0 or +1.
func Compare(ecosystem, a, b string) (int, error) {
	ka, err := Key(ecosystem, a)
	if err != nil {
		return 0, err
	}
	kb, err := Key(ecosystem, b)
	if err != nil {
		return 0, err
	}
	return bytes.Compare(ka, kb), nil
}

// Append appends the key of a version to dst, so that a caller with a buffer
// allocates nothing. On an error dst is returned as it was.
func (s Scheme) Append(dst []byte, version string) ([]byte, error) {
	version = strings.TrimSpace(version)
	if s == Go { // "go1.22.0 X:experiment"
		version, _, _ = strings.Cut(version, " ")
	}
	if version == "" || len(version) > MaxLength || strings.IndexFunc(version, unprintable) >= 0 {
		return dst, invalid(version)
	}
	n := len(dst)
	out, ok := s.append(slices.Grow(dst, 2*len(version)+8), version)
	if !ok {
		return dst[:n], invalid(version)
	}
	return out, nil
}

func (s Scheme) append(dst []byte, v string) ([]byte, bool) {
	switch s {
	case Dpkg:
		return dpkgKey(dst, v)
	case RPM:
		return rpmKey(dst, v)
	case APK:
		return apkKey(dst, v)
	case SemVer:
		return semverKey(dst, v, semverPlain)
	case Go:
		return goKey(dst, v)
	case Pub:
		return semverKey(dst, v, semverBuild)
	case NuGet:
		return semverKey(dst, v, semverFold)
	case Upstream:
		return semverKey(dst, v, semverUpstream)
	case Python:
		return pythonKey(dst, v)
	case Maven:
		return mavenKey(dst, v)
	case Ruby:
		return rubyKey(dst, v)
	case Composer:
		return composerKey(dst, v)
	case Numbers:
		return numbersKey(dst, v)
	}
	return dst, false
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

func invalid(version string) error {
	if len(version) > 80 {
		version = version[:80] + "..."
	}
	return fmt.Errorf("read version %q: %w", version, ErrInvalid)
}
