// Package embedded carries the snapshot of advisory facts that lets a first
// scan work without a network.
//
// It holds ids, aliases, affected versions, severities and dates, no prose; what
// the sets are, how old, and under which licence is in LICENCES.md and in the
// database itself. The one idea: the bytes lie in the program's read-only data
// and are used there, never copied. They are made by hand, since the open data is
// not part of the source: go run ./make -data FOLDER -o gabion.db
package embedded

import _ "embed"

//go:embed gabion.db
var database string

// Database gives the bytes of the snapshot; see vuln.Embedded.
func Database() string { return database }
