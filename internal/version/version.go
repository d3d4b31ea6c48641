// Package version holds the product's name and build facts, each in one place.
package version

import "runtime/debug"

// Name is the product's name as used in paths, groups and messages.
const Name = "gabion"

// Version is set at build time with -ldflags "-X ...version.Version=v1.2.3".
var Version = "dev"

// Revision is the commit the binary was built from, or "unknown".
func Revision() string {
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
