// Package rpmdb reads the package headers out of rpm's database files: SQLite
// (rpm since 4.16), ndb (SUSE) and the hash tables of Berkeley DB (before).
//
// It reads only what is needed to list the values of one table, and nothing
// else of these formats. The one idea: a database out of an image is hostile
// input, so every offset is checked against the file, every chain of pages is
// counted, and neither a driver nor a file on disk is involved.
//
// Sources: the SQLite file format (sqlite.org/fileformat2.html), rpm's
// lib/backend/ndb/rpmpkg.c, Berkeley DB's dbinc/db_page.h and rpm's
// lib/header.c.
package rpmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFormat is in the chain of every error that says the file is damaged or no
// database at all.
var ErrFormat = errors.New("no intact rpm database")

// MaxHeader bounds the header of one package; the largest known ones, of
// kernels with all their files, have 8 MiB.
const MaxHeader = 64 << 20

// Read hands the header of every package of a database to fn, in the order of
// the file. The bytes are valid during the call only. An error of fn ends it.
func Read(r io.ReaderAt, size int64, fn func(header []byte) error) error {
	var head [32]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("%w: file of %d bytes is too short", ErrFormat, size)
	}
	src := source{r, size}
	switch {
	case bytes.HasPrefix(head[:], []byte("SQLite format 3\x00")):
		return readSQLite(src, fn)
	case string(head[:4]) == "RpmP":
		return readNDB(src, fn)
	case binary.LittleEndian.Uint32(head[12:]) == bdbHashMagic:
		return readBDB(src, binary.LittleEndian, fn)
	case binary.BigEndian.Uint32(head[12:]) == bdbHashMagic:
		return readBDB(src, binary.BigEndian, fn)
	}
	return fmt.Errorf("%w: first bytes %x are none of SQLite, ndb or Berkeley DB", ErrFormat, head[:4])
}

// source reads from a file whose size is known.
type source struct {
	io.ReaderAt
	size int64
}

// at fills b from an offset; anything short is an error.
func (s source) at(b []byte, off int64) error {
	if off < 0 || off+int64(len(b)) > s.size {
		return fmt.Errorf("%w: offset %d is beyond the end", ErrFormat, off)
	}
	if n, err := s.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("read at %d: %w", off, err)
	}
	return nil
}
