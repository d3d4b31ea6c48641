package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"

	"github.com/gabion-dev/gabion/scan"
)

const rustPlugin = "cargo-auditable"

// rustStart is how the list of crates begins that cargo-auditable links into
// a program as a zlib stream (github.com/rust-secure-code/cargo-auditable,
// PARSING.md). The section's name stands at the end of the file, where a stream
// learns of it too late; so zlib headers are tried as they come by.
var rustStart = []byte(`{"packages":[`)

const (
	maxRustTries = 20000    // per window, so that a file full of zlib headers costs little
	maxRustList  = 16 << 20 // unpacked
)

type rustScan struct {
	packages []scan.Package
	z        *zlibReader // shared by all programs of a layer
	in       bytes.Reader
	done     bool
	tired    bool
	err      error
}

type zlibReader interface {
	io.Reader
	zlib.Resetter
}

// window looks at the part of a window before limit.
func (s *rustScan) window(b []byte, limit int) {
	tries := 0
	for i := 0; !s.done && i < limit; i++ {
		k := bytes.IndexByte(b[i:limit], 'x') // 0x78: deflate with a window of 32 KiB
		if k < 0 {
			return
		}
		i += k
		if i+8 > len(b) || !zlibHeader(b[i+1], b[i+2]) {
			continue
		}
		if tries++; tries > maxRustTries {
			s.tired = true
			return
		}
		s.try(b[i:])
	}
}

// zlibHeader reports whether the second byte completes a zlib header and the
// third can begin a text: a block that is compressed.
func zlibHeader(second, third byte) bool {
	switch second {
	case 0x01, 0x5e, 0x9c, 0xda:
		return third&6 == 2 || third&6 == 4
	}
	return false
}

// try unpacks what may be the list of crates.
func (s *rustScan) try(b []byte) {
	s.in.Reset(b)
	if *s.z == nil {
		r, err := zlib.NewReader(&s.in)
		if err != nil {
			return
		}
		*s.z = r.(zlibReader)
	} else if (*s.z).Reset(&s.in, nil) != nil {
		return
	}
	start := make([]byte, len(rustStart))
	if _, err := io.ReadFull(*s.z, start); err != nil || !bytes.Equal(start, rustStart) {
		return
	}
	s.done = true
	rest, err := io.ReadAll(io.LimitReader(*s.z, maxRustList+1))
	switch {
	case err != nil:
		s.err = fmt.Errorf("unpack list of crates: %w", err)
		return
	case len(rest) > maxRustList:
		s.err = fmt.Errorf("list of crates is larger than %d bytes", maxRustList)
		return
	}
	s.packages, s.err = readCrates(append(start, rest...))
}

// readCrates reads cargo-auditable's list. Crates that only the build used are
// not in the program.
func readCrates(b []byte) ([]scan.Package, error) {
	var v struct {
		Packages []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Kind    string `json:"kind"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("read list of crates: %w", err)
	}
	var out []scan.Package
	for _, p := range v.Packages {
		if p.Name != "" && p.Version != "" && p.Kind != "build" {
			out = append(out, language("cargo", p.Name, p.Version))
		}
	}
	return out, nil
}

func (s *rustScan) gaps(path string) []scan.Gap {
	g := scan.Gap{Where: "/" + path, Means: "the crates linked into this program are missing from the report"}
	switch {
	case s.err != nil:
		g.What = fmt.Sprintf("cargo-auditable: %v", s.err)
	case s.tired && !s.done:
		g.What, g.Minor = "cargo-auditable: gave up looking for a list of crates among too many compressed parts", true
	default:
		return nil
	}
	return []scan.Gap{g}
}
