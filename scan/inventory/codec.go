package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// formatVersion is the first byte of an encoded Contents.
const formatVersion = 2

var errFormat = errors.New("decode contents of layer: damaged, or of another version")

// codec writes or reads one Contents by one description of its shape, so that
// the two cannot drift apart. Strings are kept once, in a table up front; what
// is decoded shares memory with it.
type codec struct {
	write bool
	body  []byte
	table map[string]uint64
	strs  []string
	bad   bool
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (c *Contents) MarshalBinary() ([]byte, error) {
	w := &codec{write: true, table: map[string]uint64{}}
	w.contents(c)
	size := 0
	for _, s := range w.strs {
		size += len(s)
	}
	out := make([]byte, 0, size+len(w.body)+3*len(w.strs)+32)
	out = append(out, formatVersion)
	out = binary.AppendUvarint(out, uint64(len(w.strs)))
	out = binary.AppendUvarint(out, uint64(size))
	for _, s := range w.strs {
		out = binary.AppendUvarint(out, uint64(len(s)))
	}
	for _, s := range w.strs {
		out = append(out, s...)
	}
	return append(out, w.body...), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It keeps no reference
// to data.
func (c *Contents) UnmarshalBinary(data []byte) error {
	if len(data) == 0 || data[0] != formatVersion {
		return errFormat
	}
	r := &codec{body: data[1:]}
	n, size := r.number(), r.number()
	if r.bad || n > uint64(len(r.body)) || size > uint64(len(r.body)) {
		return errFormat
	}
	lens := make([]uint64, n)
	sum := uint64(0)
	for i := range lens {
		lens[i] = r.number()
		if lens[i] > size {
			return errFormat
		}
		sum += lens[i]
	}
	if r.bad || sum != size || size > uint64(len(r.body)) {
		return errFormat
	}
	text := string(r.body[:size])
	r.body = r.body[size:]
	r.strs = make([]string, n)
	for i, l := range lens {
		r.strs[i], text = text[:l], text[l:]
	}
	var out Contents
	r.contents(&out)
	if r.bad || len(r.body) != 0 {
		return errFormat
	}
	*c = out
	return nil
}

func (c *codec) number() uint64 {
	v, n := binary.Uvarint(c.body)
	if n <= 0 {
		c.bad, c.body = true, nil
		return 0
	}
	c.body = c.body[n:]
	return v
}

// num carries any integer.
func num[T ~int | ~int64 | ~uint32 | ~uint64 | ~uint8](c *codec, v *T) {
	if c.write {
		c.body = binary.AppendVarint(c.body, int64(*v))
		return
	}
	x, n := binary.Varint(c.body)
	if n <= 0 || int64(T(x)) != x {
		c.bad, c.body = true, nil
		return
	}
	c.body = c.body[n:]
	*v = T(x)
}

func (c *codec) flag(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	num(c, &n)
	*v = n == 1
}

func (c *codec) str(v *string) {
	if c.write {
		i, ok := c.table[*v]
		if !ok {
			i = uint64(len(c.strs))
			c.table[*v] = i
			c.strs = append(c.strs, *v)
		}
		c.body = binary.AppendUvarint(c.body, i)
		return
	}
	if i := c.number(); i < uint64(len(c.strs)) {
		*v = c.strs[i]
	} else {
		c.bad, c.body = true, nil
	}
}

// raw carries bytes of a fixed number.
func (c *codec) raw(v []byte) {
	if c.write {
		c.body = append(c.body, v...)
		return
	}
	if len(c.body) < len(v) {
		c.bad, c.body = true, nil
		return
	}
	c.body = c.body[copy(v, c.body):]
}

// length carries the length of a list whose elements take at least size bytes.
func (c *codec) length(n, size int) int {
	if c.write {
		c.body = binary.AppendUvarint(c.body, uint64(n))
		return n
	}
	v := c.number()
	if v > uint64(len(c.body)/size) {
		c.bad, c.body = true, nil
		return 0
	}
	return int(v)
}

// list carries a list; an empty one comes back as nil.
func list[T any](c *codec, v *[]T, one func(*T)) {
	n := c.length(len(*v), 1)
	if !c.write && n > 0 {
		// A damaged length must not cost more memory than the data has.
		*v = make([]T, 0, min(n, 1024))
	}
	for i := 0; i < n && !c.bad; i++ {
		if !c.write {
			var zero T
			*v = append(*v, zero)
		}
		one(&(*v)[i])
	}
}

func (c *codec) texts(v *[]string) { list(c, v, c.str) }

func (c *codec) hashes(v *[]uint64) {
	n := c.length(len(*v), 8)
	if c.write {
		for _, h := range *v {
			c.body = binary.LittleEndian.AppendUint64(c.body, h)
		}
		return
	}
	if n > 0 {
		*v = make([]uint64, n)
	}
	for i := range *v {
		(*v)[i] = binary.LittleEndian.Uint64(c.body[8*i:])
	}
	c.body = c.body[8*n:]
}

func (c *codec) contents(v *Contents) {
	c.hashes((*[]uint64)(&v.hides))
	if !c.write && !slices.IsSorted(v.hides) {
		c.bad = true
		return
	}
	list(c, &v.units, func(u *unit) {
		c.str(&u.path)
		c.str(&u.plugin)
		list(c, &u.packages, c.found)
	})
	list(c, &v.files, func(f *program) {
		c.str(&f.path)
		c.raw(f.digest[:])
		num(c, &f.size)
		num(c, &f.mode)
		num(c, &f.uid)
		num(c, &f.kind)
		c.bad = c.bad || int(f.kind) >= len(programKinds)
	})
	list(c, &v.links, func(l *link) { c.str(&l.path); c.str(&l.target) })
	list(c, &v.releases, func(r *release) {
		c.str(&r.path)
		c.str(&r.ID)
		c.str(&r.Version)
		c.str(&r.Codename)
		c.str(&r.Name)
		c.texts(&r.Like)
		c.str(&r.Ecosystem)
	})
	list(c, &v.users, func(u *users) { c.str(&u.path); c.ids(&u.ids) })
	list(c, &v.owners, func(o *ownerList) {
		c.str(&o.path)
		c.str(&o.name)
		c.str(&o.arch)
		c.hashes(&o.hashes)
	})
	list(c, &v.docs, func(d *doc) {
		c.str(&d.path)
		c.str(&d.name)
		c.texts(&d.licenses)
		c.str(&d.alias)
	})
	list(c, &v.secrets, c.secret)
	list(c, &v.gaps, func(g *gap) {
		c.str(&g.path)
		c.str(&g.Where)
		c.str(&g.What)
		c.str(&g.Means)
		c.str(&g.Do)
		c.flag(&g.Minor)
	})
}

func (c *codec) found(p *found) {
	for _, s := range []*string{&p.Name, &p.Version, &p.Ecosystem, &p.PURL, &p.Source, &p.SourceVersion, &p.Arch, &p.Module, &p.Found, &p.Path} {
		c.str(s)
	}
	c.texts(&p.Licenses)
	c.flag(&p.Dev)
	c.str(&p.vendor)
	c.hashes(&p.owns)
}

// secret carries what a scanner may fill; State and Decision come later.
func (c *codec) secret(s *secret) {
	for _, t := range []*string{&s.path, &s.Detector, &s.Title, &s.Where, &s.Masked, &s.Fingerprint, (*string)(&s.State)} {
		c.str(t)
	}
	num(c, (*int)(&s.Severity))
	num(c, &s.Line)
}

// ids carries a map in the order of its keys.
func (c *codec) ids(m *map[string]int) {
	type pair struct {
		name string
		id   int
	}
	var pairs []pair
	for k, v := range *m {
		pairs = append(pairs, pair{k, v})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	list(c, &pairs, func(p *pair) { c.str(&p.name); num(c, &p.id) })
	if !c.write {
		*m = make(map[string]int, len(pairs))
		for _, p := range pairs {
			(*m)[p.name] = p.id
		}
	}
}

// String tells the size of a Contents, for logs.
func (c *Contents) String() string {
	return fmt.Sprintf("%d paths, %d files with packages, %d programs, %d secrets, %d gaps",
		len(c.hides), len(c.units), len(c.files), len(c.secrets), len(c.gaps))
}
