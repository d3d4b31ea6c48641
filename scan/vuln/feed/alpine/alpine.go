// Package alpine reads Alpine's security database ("secdb"): per release and
// repository, which version of a source package fixed which vulnerabilities.
//
// It holds no severities and nothing about open vulnerabilities. The one idea:
// a vulnerability listed below a version is fixed from that version on, and one
// listed below "0" never was there. Files of several releases speak about the
// same vulnerabilities: their records are parts of one.
package alpine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

type file struct {
	Release  string `json:"distroversion"`
	Packages []struct {
		Pkg json.RawMessage `json:"pkg"`
	} `json:"packages"`
}

type pkg struct {
	Name  string              `json:"name"`
	Fixes map[string][]string `json:"secfixes"`
}

// Import reads one file and hands one record per vulnerability to sink, in the
// order of ids. Records counts packages times vulnerabilities. Records with the
// same id, of other files too, are parts of one advisory, which the Builder
// adds up.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Record) error) (intake.Stats, error) {
	var s intake.Stats
	var f file
	d := intake.NewDecoder(ctx, r, intake.Limits{})
	err := d.Value(&f)
	if err == nil {
		err = d.End()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return s, fmt.Errorf("read Alpine secdb: %w", err)
	}
	if f.Release == "" {
		return s, fmt.Errorf("read Alpine secdb: no \"distroversion\" in it")
	}
	ecosystem := "Alpine:" + f.Release
	found := &findings{fixed: map[key]string{}, aliases: map[string][]string{}}
	for i, p := range f.Packages {
		var in pkg
		if err := json.Unmarshal(p.Pkg, &in); err != nil || in.Name == "" {
			s.Records++
			s.Refuse(in.Name, fmt.Sprintf("packages[%d].pkg: %v", i, cmp.Or(err, fmt.Errorf("no name"))))
			continue
		}
		in.collect(ecosystem, found, &s)
	}
	return s, give(ctx, ecosystem, found, &s, sink)
}

type key struct{ id, name string }

// findings are the fixes of a file, and the other names of vulnerabilities.
type findings struct {
	fixed   map[key]string
	aliases map[string][]string
}

// collect adds the fixes of a package. A vulnerability below several versions
// was fixed for good by the highest.
func (p *pkg) collect(ecosystem string, to *findings, s *intake.Stats) {
	for _, v := range slices.Sorted(maps.Keys(p.Fixes)) {
		for _, text := range p.Fixes[v] {
			ids := names(text)
			if len(ids) == 0 {
				s.Records++
				s.Refuse(p.Name, fmt.Sprintf("secfixes[%s]: %.60q holds no id", v, text))
				continue
			}
			k := key{ids[0], p.Name}
			old, twice := to.fixed[k]
			if !twice {
				s.Records++
			}
			if !twice || later(ecosystem, v, old) {
				to.fixed[k] = v
			}
			for _, id := range ids[1:] {
				if !slices.Contains(to.aliases[ids[0]], id) {
					to.aliases[ids[0]] = append(to.aliases[ids[0]], id)
				}
			}
		}
	}
}

// names reads the ids of an entry: several separated by blanks name the same
// vulnerability. A CVE goes first; words between them are remarks.
func names(text string) []string {
	var ids []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t,;()+", r) }) {
		id := intake.ID(word)
		if id == "" || !strings.Contains(id, "-") || slices.Contains(ids, id) {
			continue
		}
		ids = append(ids, id)
	}
	slices.SortStableFunc(ids, func(a, b string) int {
		return cmp.Compare(notCVE(a), notCVE(b))
	})
	return ids
}

func notCVE(id string) int {
	if strings.HasPrefix(id, "CVE-") {
		return 0
	}
	return 1
}

func later(ecosystem, v, old string) bool {
	if old == "0" || v == "0" {
		return old == "0"
	}
	c, err := version.Compare(ecosystem, v, old)
	return err == nil && c > 0
}

func give(ctx context.Context, ecosystem string, found *findings, s *intake.Stats, sink func(vuln.Record) error) error {
	keys := slices.SortedFunc(maps.Keys(found.fixed), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.name, b.name))
	})
	for len(keys) > 0 {
		n := 1
		for n < len(keys) && keys[n].id == keys[0].id {
			n++
		}
		out := vuln.Record{ID: keys[0].id, Aliases: slices.Sorted(slices.Values(found.aliases[keys[0].id]))}
		for _, k := range keys[:n] {
			a := vuln.Affected{Ecosystem: ecosystem, Name: k.name, By: vuln.BySource}
			if v := found.fixed[k]; v == "0" {
				a.Status = vuln.NotAffected
			} else {
				a.Ranges = []vuln.Range{{Fixed: v}}
			}
			out.Affected = append(out.Affected, a)
		}
		keys = keys[n:]
		if err := sink(out); err != nil {
			for range n {
				s.Refuse(out.ID, err.Error())
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		s.Kept += n
	}
	return nil
}
