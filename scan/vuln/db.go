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
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unsafe"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln/embedded"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// DB is an open database. It is safe for concurrent use until Close.
type DB struct {
	all      []byte
	parts    [sections][]byte
	meta     meta
	bits     int
	byName   map[string]uint32 // ecosystems
	programs map[string][]string
	unmap    func() error
}

// Open maps a database file. A writer must replace the file by renaming, as
// Builder.Write does: one that is cut short while mapped makes Match report
// damage.
func Open(path string) (*DB, error) {
	data, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	d, err := Read(data)
	if err != nil {
		_ = unmap()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	d.unmap = unmap
	return d, nil
}

// Embedded opens the snapshot of facts inside this program, where it lies.
func Embedded() (*DB, error) {
	s := embedded.Database()
	d, err := Read(unsafe.Slice(unsafe.StringData(s), len(s)))
	if err != nil {
		return nil, fmt.Errorf("open embedded database: %w", err)
	}
	d.meta.Embedded = true
	return d, nil
}

// Read opens a database held in memory, which must not change any more.
func Read(b []byte) (*DB, error) {
	if len(b) < headerSize+int(sections)*sectionSize || string(b[:8]) != magic {
		return nil, fmt.Errorf("read header: %w", ErrFormat)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program reads %d; build or fetch it anew", ErrVersion, v, formatVersion)
	}
	if n := binary.LittleEndian.Uint32(b[12:]); n != uint32(sections) {
		return nil, fmt.Errorf("read header: %d sections: %w", n, ErrFormat)
	}
	d := &DB{all: b, unmap: func() error { return nil }}
	for i := range d.parts {
		at := b[headerSize+i*sectionSize:]
		off, size := binary.LittleEndian.Uint64(at), binary.LittleEndian.Uint64(at[8:])
		if off > uint64(len(b)) || size > uint64(len(b))-off {
			return nil, fmt.Errorf("read section %d: it ends after the file: %w", i, ErrFormat)
		}
		d.parts[i] = b[off : off+size : off+size]
	}
	for s, size := range map[section]int{
		secVersionIndex: 4, secVulnIndex: 4, secAdvisoryIndex: 4, secBuckets: 4, secRows: rowSize, secCVEs: pairSize,
		secIDs: pairSize, secCVSS: cvssSize, secKEV: kevSize, secEPSS: epssSize, secSSVC: ssvcSize, secProseIndex: 8,
	} {
		if len(d.parts[s])%size != 0 {
			return nil, fmt.Errorf("read section %d: %w", s, ErrFormat)
		}
	}
	buckets := len(d.parts[secBuckets])/4 - 1
	for 1<<d.bits < buckets {
		d.bits++
	}
	if d.bits < 1 || 1<<d.bits != buckets {
		return nil, fmt.Errorf("read buckets: %w", ErrFormat)
	}
	if len(d.parts[secMeta]) > maxMeta {
		return nil, fmt.Errorf("read description: %w", ErrFormat)
	}
	if err := json.Unmarshal(d.parts[secMeta], &d.meta); err != nil {
		return nil, fmt.Errorf("read description: %w: %w", ErrFormat, err)
	}
	d.meta.Digest = "sha256:" + hex.EncodeToString(b[headerSize-sha256.Size:headerSize])
	d.byName = make(map[string]uint32, len(d.meta.Ecosystems))
	for i, e := range d.meta.Ecosystems {
		if version.SchemeOf(e.Name) == version.None {
			continue // from a newer program; packages of it will be a Gap
		}
		if version.Scheme(e.Scheme) != version.SchemeOf(e.Name) {
			// Keys of another order would compare wrongly without anyone noticing.
			return nil, fmt.Errorf("%w: versions of %s are ordered differently by now; build or fetch it anew", ErrVersion, e.Name)
		}
		for _, s := range e.Sources {
			if s < 0 || s >= len(d.meta.Sources) {
				return nil, fmt.Errorf("read description of %s: %w", e.Name, ErrFormat)
			}
		}
		d.byName[e.Name] = uint32(i)
	}
	d.programs = map[string][]string{}
	for line := range strings.Lines(programsText) {
		name, names, _ := strings.Cut(line, ":")
		d.programs[name] = strings.Fields(names)
	}
	return d, nil
}

// Info tells what the database is, without reading it.
func (d *DB) Info() scan.Database { return d.meta.Database }

// Verify reads everything and compares it with the digest in the header.
func (d *DB) Verify() error {
	sum := sha256.Sum256(d.all[headerSize:])
	if want := d.all[headerSize-sha256.Size : headerSize]; !bytes.Equal(sum[:], want) {
		return fmt.Errorf("verify database: content has digest sha256:%x, the header says %s: %w", sum, d.meta.Digest, ErrFormat)
	}
	return nil
}

// Close unmaps the file. Nothing may use the DB afterwards.
func (d *DB) Close() error { return d.unmap() }
