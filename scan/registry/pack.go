package registry

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/gabion-dev/gabion/scan"
)

// A packed image is "GBK" and a version, the strings of its packages and files,
// each once, their records as numbers of strings, and everything else as JSON.
// Strings come back as parts of one, so that thousands of packages cost a few
// allocations: matching 10,000 images again is mostly reading them.
const packMagic = "GBK\x01"

// maxPacked bounds a packed image; the biggest real ones are below 20 MB.
const maxPacked = 256 << 20

// What a record takes at least, a byte for each field: no memory is taken for
// more records than the data can hold.
const packageBytes, fileBytes = 14, 7

var errPacked = errors.New("read packed image: it is damaged")

// rest is what a packed image holds as JSON.
type rest struct {
	Image      scan.Image       `json:"image"`
	Release    scan.Release     `json:"release"`
	Users      map[string]int   `json:"users,omitempty"`
	Secrets    []scan.Secret    `json:"secrets,omitempty"`
	Gaps       []scan.Gap       `json:"gaps,omitempty"`
	Signatures []scan.Signature `json:"signatures,omitempty"`
	Signed     bool             `json:"signed,omitempty"`
	Base       *scan.Base       `json:"base,omitempty"`
}

// packer numbers strings in the order of their first use.
type packer struct {
	index   map[string]uint64
	strings []string
	out     []byte
}

func (p *packer) num(n uint64) { p.out = binary.AppendUvarint(p.out, n) }

func (p *packer) str(s string) {
	i, ok := p.index[s]
	if !ok {
		i = uint64(len(p.strings))
		p.index[s] = i
		p.strings = append(p.strings, s)
	}
	p.num(i)
}

func (p *packer) list(l []string) {
	p.num(uint64(len(l)))
	for _, s := range l {
		p.str(s)
	}
}

// judged reports whether a file matters to those who judge an image again.
func judged(f *scan.File) bool { return f.Mode&0o6002 != 0 }

// Pack writes what is kept of an image.
func (k *Kept) Pack() ([]byte, error) {
	p := &packer{index: map[string]uint64{}}
	inv := &k.Inventory
	p.num(uint64(len(inv.Packages)))
	for i := range inv.Packages {
		q := &inv.Packages[i]
		for _, s := range []string{q.Name, q.Version, q.Ecosystem, q.PURL, q.Source, q.SourceVersion, q.Arch, q.Module, q.Found, q.Path} {
			p.str(s)
		}
		p.num(uint64(q.Layer + 1))
		dev := uint64(0)
		if q.Dev {
			dev = 1
		}
		p.num(dev)
		p.list(q.Licenses)
		p.list(q.Programs)
	}
	files := 0
	for i := range inv.Files {
		if judged(&inv.Files[i]) {
			files++
		}
	}
	p.num(uint64(files))
	for i := range inv.Files {
		f := &inv.Files[i]
		if !judged(f) {
			continue
		}
		p.str(f.Path)
		p.str(f.Digest)
		p.str(f.Kind)
		for _, n := range []uint64{uint64(f.Size), uint64(f.Mode), uint64(f.UID), uint64(f.Layer + 1)} {
			p.num(n)
		}
	}
	tail, err := json.Marshal(rest{k.Image, inv.Release, inv.Users, inv.Secrets, inv.Gaps, k.Signatures, k.Signed, k.Base})
	if err != nil {
		return nil, fmt.Errorf("pack image: %w", err)
	}
	head := &packer{out: []byte(packMagic)}
	head.num(uint64(len(p.strings)))
	total := 0
	for _, s := range p.strings {
		head.num(uint64(len(s)))
		total += len(s)
	}
	out := make([]byte, 0, len(head.out)+total+len(p.out)+len(tail))
	out = append(out, head.out...)
	for _, s := range p.strings {
		out = append(out, s...)
	}
	return append(append(out, p.out...), tail...), nil
}

// unpacker reads numbers and strings; bad stays set once something was wrong.
type unpacker struct {
	data    []byte
	strings []string
	bad     bool
}

func (u *unpacker) num() uint64 {
	n, used := binary.Uvarint(u.data)
	if used <= 0 {
		u.bad, u.data = true, nil
		return 0
	}
	u.data = u.data[used:]
	return n
}

// count is a number of things that take at least one byte each.
func (u *unpacker) count() int {
	n := u.num()
	if n > uint64(len(u.data)) {
		u.bad = true
		return 0
	}
	return int(n)
}

func (u *unpacker) int() int {
	n := u.num()
	if n > math.MaxInt32 {
		u.bad = true
		return 0
	}
	return int(n)
}

func (u *unpacker) str() string {
	n := u.num()
	if n >= uint64(len(u.strings)) {
		u.bad = true
		return ""
	}
	return u.strings[n]
}

func (u *unpacker) list() []string {
	n := u.count()
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = u.str()
	}
	return out
}

// Unpack reads what Pack wrote.
func Unpack(data []byte) (*Kept, error) {
	if len(data) < len(packMagic) || string(data[:len(packMagic)]) != packMagic {
		return nil, errors.New("read packed image: it is of another version; scan the image again")
	}
	if len(data) > maxPacked {
		return nil, fmt.Errorf("read packed image: more than %d MB", maxPacked>>20)
	}
	u := &unpacker{data: data[len(packMagic):]}
	u.strings = make([]string, u.count())
	sizes := u.data
	total := uint64(0)
	for range u.strings {
		n := u.num()
		if n > maxPacked {
			u.bad = true
		}
		total += n
	}
	if u.bad || total > uint64(len(u.data)) {
		return nil, errPacked
	}
	text := string(u.data[:total])
	table := unpacker{data: sizes}
	for i := range u.strings {
		n := table.num()
		u.strings[i], text = text[:n], text[n:]
	}
	u.data = u.data[total:]

	k := &Kept{}
	u.packages(&k.Inventory)
	u.files(&k.Inventory)
	if u.bad {
		return nil, errPacked
	}
	var r rest
	if err := json.Unmarshal(u.data, &r); err != nil {
		return nil, fmt.Errorf("read packed image: %w", err)
	}
	k.Image, k.Signatures, k.Signed, k.Base = r.Image, r.Signatures, r.Signed, r.Base
	k.Inventory.Release, k.Inventory.Users, k.Inventory.Secrets, k.Inventory.Gaps = r.Release, r.Users, r.Secrets, r.Gaps
	return k, nil
}

func (u *unpacker) packages(inv *scan.Inventory) {
	n := u.count()
	if n > len(u.data)/packageBytes {
		u.bad = true
		return
	}
	inv.Packages = make([]scan.Package, n)
	for i := range inv.Packages {
		q := &inv.Packages[i]
		for _, s := range []*string{&q.Name, &q.Version, &q.Ecosystem, &q.PURL, &q.Source, &q.SourceVersion, &q.Arch, &q.Module, &q.Found, &q.Path} {
			*s = u.str()
		}
		q.Layer = u.int() - 1
		q.Dev = u.num() == 1
		q.Licenses, q.Programs = u.list(), u.list()
		if u.bad {
			return
		}
	}
}

func (u *unpacker) files(inv *scan.Inventory) {
	n := u.count()
	if n == 0 {
		return
	}
	if n > len(u.data)/fileBytes {
		u.bad = true
		return
	}
	inv.Files = make([]scan.File, n)
	for i := range inv.Files {
		f := &inv.Files[i]
		f.Path, f.Digest, f.Kind = u.str(), u.str(), u.str()
		f.Size = int64(u.num() & math.MaxInt64)
		f.Mode, f.UID, f.Layer = uint32(u.int()), u.int(), u.int()-1
		if u.bad {
			return
		}
	}
}
