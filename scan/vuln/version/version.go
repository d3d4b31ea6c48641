// Package version knows the order of versions in every ecosystem that
// advisories are written for.
//
// It is not for ranges or requirements ("^1.2", ">= 3"); importers turn those
// into bounds. The one idea: a version becomes a key, and keys compare as
// bytes, so that an order is worked out once, when a database is built, and a
// comparison is a bytes.Compare afterwards.
package version

import "errors"

// Key gives the order-preserving key of a version: for two versions of one
// ecosystem, bytes.Compare of their keys is the ecosystem's own order. The
// release of an ecosystem ("Debian:12") does not matter.
func Key(ecosystem, version string) ([]byte, error) {
	return nil, errors.New("key version: not built yet")
}

// Compare gives -1, 0 or +1.
func Compare(ecosystem, a, b string) (int, error) {
	return 0, errors.New("compare versions: not built yet")
}
