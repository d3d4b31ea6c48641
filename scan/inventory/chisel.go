package inventory

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan"
)

const chiselPlugin = "chisel"

const maxManifest = 256 << 20 // unpacked

// readChisel reads the manifest of a chiselled Ubuntu image, which has no
// database of dpkg: JSON lines, packed with zstd, that name packages and the
// slices that own paths ("libssl3_libs" is a slice of libssl3).
func readChisel(f *file, out *result) error {
	z, err := zstd.NewReader(f.reader(), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer z.Close()
	limited := &io.LimitedReader{R: z, N: maxManifest}
	s := bufio.NewScanner(limited)
	s.Buffer(make([]byte, 0, 16<<10), maxLine)
	owns := map[string][]uint64{}
	for s.Scan() {
		var v struct {
			Kind, Name, Version, Arch, Path string
			Slices                          []string
		}
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return err
		}
		switch {
		case v.Kind == "package" && (v.Name == "" || v.Version == ""):
			return fmt.Errorf("a package has no name or no version (%q, %q)", v.Name, v.Version)
		case v.Kind == "package":
			if err := out.system(found{Package: scan.Package{Name: v.Name, Version: v.Version, Arch: v.Arch}}); err != nil {
				return err
			}
		case v.Kind == "path":
			path := strings.TrimPrefix(v.Path, "/")
			for _, slice := range v.Slices {
				name, _, _ := strings.Cut(slice, "_")
				if mayMatter([]byte(path)) {
					owns[name] = append(owns[name], hashPath(path))
				}
			}
		}
	}
	for i := range out.packages {
		out.packages[i].owns = owns[out.packages[i].Name]
	}
	if limited.N <= 0 {
		return errors.Join(s.Err(), fmt.Errorf("manifest has more than %d bytes", int64(maxManifest)))
	}
	return s.Err()
}
