// Package vuln holds what is known to be wrong with software and finds it in
// an inventory: the advisory database (Builder, DB) and the matcher (Match).
//
// It is not for fetching or reading feeds (feed), for distributing databases
// (pack), for version order (version), or for deciding what counts (decide).
//
// The one idea: everything that costs time is done when a database is built.
// It is one file, mapped into memory, in which (ecosystem, name) leads to
// version intervals whose bounds are keys that compare as bytes. Opening reads
// a header; a package without advisories costs one hash look-up. A file is not
// trusted: every offset is checked where it is followed.
package vuln

import (
	"errors"

	"github.com/gabion-dev/gabion/scan"
)

// DB is an open database. It is safe for concurrent use until Close.
type DB struct{}

// Open maps a database file.
func Open(path string) (*DB, error) { return nil, errors.New("open database: not built yet") }

// Read opens a database held in memory, which must not change any more.
func Read(b []byte) (*DB, error) { return nil, errors.New("read database: not built yet") }

// Embedded opens the snapshot of facts inside this program.
func Embedded() (*DB, error) { return nil, errors.New("open embedded database: not built yet") }

// Info tells what the database is, without reading it.
func (d *DB) Info() scan.Database { return scan.Database{} }

// Verify reads everything and compares it with the digest in the header.
func (d *DB) Verify() error { return errors.New("verify database: not built yet") }

// Close unmaps the file. Nothing may use the DB afterwards.
func (d *DB) Close() error { return nil }

// Match finds what is known of the packages. Finding.Package is the index into
// pkgs. Findings are sorted by package and id, and have no Priority yet.
func (d *DB) Match(release scan.Release, pkgs []scan.Package) ([]scan.Finding, []scan.Gap) {
	return nil, nil
}

// Describe fills Summary and URL of findings from the prose, where the
// database has it. Match leaves it unread because reading it costs time.
func (d *DB) Describe(findings []scan.Finding) error { return nil }

// Entry is one advisory with what it says of packages.
type Entry struct {
	scan.Advisory
	Details  string
	Affected []Affected
}

// Lookup finds advisories by any id or alias, sorted by source and id.
func (d *DB) Lookup(id string) ([]Entry, error) { return nil, nil }
