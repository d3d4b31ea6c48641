package vuln

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// affected adds what a record says of one package. stream is the module that
// the record is about as a whole, if it says so.
func (b *Builder) affected(n uint32, modified int64, a *Affected, stream string) error {
	ecosystem := Ecosystem(a.Ecosystem)
	if ecosystem == "" || a.Name == "" || len(a.Name) > maxName {
		return errors.New("a package has no ecosystem, no name, or too long a name")
	}
	base, _, _ := strings.Cut(ecosystem, ":")
	scheme := version.SchemeOf(ecosystem)
	if scheme == version.None {
		b.stats.Unknown[base]++
	}
	e := entry{advisory: n, modified: modified, status: a.Status, severity: uint8(a.Severity), all: a.All, rare: &rare{module: b.intern(a.Module)}}
	for _, arch := range a.Arch {
		e.arch = append(e.arch, b.intern(arch))
	}
	slices.Sort(e.arch)
	e.arch = slices.Compact(e.arch)
	for _, r := range a.Ranges {
		b.addRange(&e, scheme, r)
	}
	b.addVersions(&e, scheme, a.Versions)
	if scheme == version.RPM && e.module == "" && slices.ContainsFunc(a.Ranges, func(r Range) bool { return modularBuild(r.Fixed) }) {
		e.module = cmp.Or(b.intern(stream), anyModule)
	}
	if e.status == IsAffected && !e.all && !e.unreadable && len(e.ranges) == 0 && len(e.versions) == 0 {
		b.stats.Empty++
		return nil
	}
	if e.all {
		e.ranges = nil
	}
	if len(e.versions) == 0 && e.module == "" && len(e.arch) == 0 {
		e.rare = b.none
	}
	key := packageKey{ecosystem: b.ecosystem(ecosystem), source: bySource[base]}
	switch a.By {
	case BySource:
		key.source = true
	case ByBinary:
		key.source = false
	}
	b.name = appendName(b.name[:0], base, a.Name)
	key.name = b.intern(string(b.name))
	b.packages[key] = append(b.packages[key], e)
	return nil
}

// anyModule marks advisories about modular packages whose stream is not told.
const anyModule = "*"

// streamOf finds the module that a summary names ("Important: nodejs:18 security
// update"), which is the only place where AlmaLinux and Rocky Linux say it.
// Empty when it names none or several.
func streamOf(summary string) string {
	stream := ""
	for word := range strings.FieldsSeq(summary) {
		name, s, ok := strings.Cut(strings.TrimRight(word, ",;."), ":")
		if !ok || name == "" || s == "" || strings.ContainsAny(s, ":/") || !isStreamName(name) {
			continue
		}
		if stream != "" && stream != name+":"+s {
			return ""
		}
		stream = name + ":" + s
	}
	return stream
}

func isStreamName(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_.+-") == "" && !strings.HasPrefix(s, "http")
}

// modularBuild recognizes the release of an rpm that was built for a module.
func modularBuild(v string) bool {
	return strings.Contains(v, ".module_") || strings.Contains(v, ".module+")
}

func (b *Builder) addRange(e *entry, scheme version.Scheme, r Range) {
	var i interval
	ok := true
	if !isZeroVersion(r.Introduced) {
		i.low, ok = b.ordered(scheme, r.Introduced)
	}
	up := ""
	switch {
	case r.Fixed != "":
		up, i.kind = r.Fixed, boundFixed
	case r.LastAffected != "":
		up, i.kind = r.LastAffected, boundLast
	case r.Limit != "" && r.Limit != "*":
		up, i.kind = r.Limit, boundLimit
	}
	if up != "" {
		var upOK bool
		i.up, upOK = b.ordered(scheme, up)
		ok = ok && upOK
	}
	if !ok {
		b.stats.Unreadable++
		e.unreadable = true
		return
	}
	if i.low == 0 && i.kind == boundNone {
		e.all = true
	}
	if !slices.Contains(e.ranges, i) {
		e.ranges = append(e.ranges, i)
	}
}

// addVersions keeps exact versions that no range holds already.
func (b *Builder) addVersions(e *entry, scheme version.Scheme, list []string) {
	if e.all {
		return
	}
	for _, v := range list {
		if v == "" || len(v) > version.MaxLength {
			continue
		}
		if key, err := scheme.Append(b.key[:0], v); err == nil {
			b.key = key
			if slices.ContainsFunc(e.ranges, func(i interval) bool { return b.holds(scheme, i, key) }) {
				continue
			}
		}
		e.versions = append(e.versions, b.version(scheme, v))
	}
	slices.Sort(e.versions)
	e.versions = slices.Compact(e.versions)
}

func (b *Builder) holds(scheme version.Scheme, i interval, key []byte) bool {
	return within(key, b.keyOf(i.low), b.keyOf(i.up), i.kind)
}

// within tells whether a key is in an interval; a nil low is the beginning.
func within(key, low, up []byte, kind bound) bool {
	if bytes.Compare(key, low) < 0 {
		return false
	}
	switch kind {
	case boundNone:
		return true
	case boundLast:
		return bytes.Compare(key, up) <= 0
	}
	return bytes.Compare(key, up) < 0
}

func (b *Builder) keyOf(n uint32) []byte { return b.texts[n].key }

// ordered interns a version and tells whether its scheme can read it.
func (b *Builder) ordered(scheme version.Scheme, text string) (uint32, bool) {
	n := b.version(scheme, text)
	return n, b.texts[n].key != nil
}

func (b *Builder) version(scheme version.Scheme, text string) uint32 {
	k := versionKey{scheme, text}
	if n, ok := b.versions[k]; ok {
		return n
	}
	k.text = b.intern(text)
	v := versionLayout{versionKey: k}
	if key, err := scheme.Append(b.key[:0], text); err == nil {
		v.key, b.key = bytes.Clone(key), key
	}
	n := uint32(len(b.texts))
	b.texts = append(b.texts, v)
	b.versions[k] = n
	return n
}

func (b *Builder) ecosystem(name string) uint32 {
	if n, ok := b.ecosystems[name]; ok {
		return n
	}
	name = b.intern(name)
	n := uint32(len(b.names))
	b.ecosystems[name] = n
	b.names = append(b.names, name)
	return n
}
