package rpmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Package is what a package's header says of it.
type Package struct {
	Name, Version, Release, Arch string
	Epoch                        int // -1: none
	License, Vendor              string
	SourceRPM                    string // file name: "name-version-release.src.rpm"
	Module                       string // modularity label, "name:stream:version:context"
	// Files are the absolute paths of all its files and directories.
	Files []string
}

// Tags of the header that are read (rpm's include/rpm/rpmtag.h).
const (
	tagName, tagVersion, tagRelease, tagEpoch        = 1000, 1001, 1002, 1003
	tagVendor, tagLicense, tagArch, tagSourceRPM     = 1011, 1014, 1022, 1044
	tagDirIndexes, tagBaseNames, tagDirNames         = 1116, 1117, 1118
	tagModularity                                    = 5096
	typeInt32, typeString, typeStringArray, typeI18N = 4, 6, 8, 9
)

// maxEntries bounds the tags of one header, as rpm does.
const maxEntries = 65535

// Parse reads a header as the database has it: without the magic that the same
// header has in a package file.
func Parse(b []byte) (Package, error) {
	p := Package{Epoch: -1}
	if len(b) < 8 {
		return p, fmt.Errorf("%w: header of %d bytes", ErrFormat, len(b))
	}
	be := binary.BigEndian
	entries, size := int64(be.Uint32(b)), int64(be.Uint32(b[4:]))
	if entries > maxEntries || 8+16*entries+size > int64(len(b)) {
		return p, fmt.Errorf("%w: header of %d bytes with %d tags", ErrFormat, len(b), entries)
	}
	data := b[8+16*entries : 8+16*entries+size]
	var bases, dirs []string
	var dirOf []uint32
	for i := range entries {
		e := b[8+16*i : 24+16*i]
		tag, kind, off, count := be.Uint32(e), be.Uint32(e[4:]), be.Uint32(e[8:]), be.Uint32(e[12:])
		var text *string
		switch tag {
		case tagName:
			text = &p.Name
		case tagVersion:
			text = &p.Version
		case tagRelease:
			text = &p.Release
		case tagArch:
			text = &p.Arch
		case tagLicense:
			text = &p.License
		case tagVendor:
			text = &p.Vendor
		case tagSourceRPM:
			text = &p.SourceRPM
		case tagModularity:
			text = &p.Module
		case tagEpoch, tagDirIndexes, tagBaseNames, tagDirNames:
		default:
			continue
		}
		if int64(off) > size {
			return p, fmt.Errorf("%w: tag %d is beyond the header", ErrFormat, tag)
		}
		v := data[off:]
		var err error
		switch {
		case text != nil && (kind == typeString || kind == typeStringArray || kind == typeI18N):
			var one []string
			if one, err = texts(v, 1); err == nil {
				*text = one[0]
			}
		case kind == typeInt32 && (tag == tagEpoch || tag == tagDirIndexes):
			if uint64(count)*4 > uint64(len(v)) || tag == tagEpoch && count == 0 {
				err = ErrFormat
			} else if tag == tagEpoch {
				p.Epoch = int(be.Uint32(v))
			} else {
				for k := range count {
					dirOf = append(dirOf, be.Uint32(v[4*k:]))
				}
			}
		case kind == typeStringArray && tag == tagBaseNames:
			bases, err = texts(v, count)
		case kind == typeStringArray && tag == tagDirNames:
			dirs, err = texts(v, count)
		default:
			err = ErrFormat
		}
		if err != nil {
			return p, fmt.Errorf("tag %d of type %d: %w", tag, kind, err)
		}
	}
	if p.Name == "" || p.Version == "" {
		return p, fmt.Errorf("%w: package has no name or no version (%q, %q)", ErrFormat, p.Name, p.Version)
	}
	if len(bases) != len(dirOf) {
		return p, fmt.Errorf("%w: %s has %d files in %d directories", ErrFormat, p.Name, len(bases), len(dirOf))
	}
	for i, base := range bases {
		if dirOf[i] >= uint32(len(dirs)) {
			return p, fmt.Errorf("%w: %s has a file without directory", ErrFormat, p.Name)
		}
		p.Files = append(p.Files, dirs[dirOf[i]]+base)
	}
	return p, nil
}

// texts reads strings that end with a zero byte.
func texts(b []byte, count uint32) ([]string, error) {
	if uint64(count) > uint64(len(b)) {
		return nil, ErrFormat
	}
	out := make([]string, 0, count)
	for range count {
		s, rest, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return nil, ErrFormat
		}
		out, b = append(out, string(s)), rest
	}
	return out, nil
}
