package vuln

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
)

// mixed are records that use everything the format has.
func mixed() ([]Record, []Extra) {
	records := []Record{
		{ID: "GHSA-a", Aliases: []string{"CVE-2023-0001"}, Severity: scan.High, CVSS: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Summary: "a summary", Details: "many details", URL: "https://example.org/a", Published: day("2023-01-01"), Modified: day("2023-01-02"),
			Affected: []Affected{{Ecosystem: "npm", Name: "a", Ranges: []Range{{Introduced: "1.0.0", Fixed: "1.2.0"}, {Introduced: "2.0.0", LastAffected: "2.1.0"}, {Introduced: "3.0.0"}}, Versions: []string{"0.1.0", "odd one"}}}},
		{ID: "RHSA-1", Upstream: []string{"CVE-2023-0001", "CVE-2023-0002"}, Summary: "another", Affected: []Affected{
			{Ecosystem: "Red Hat:9", Name: "a", Module: "a:1", Arch: []string{"x86_64", "aarch64"}, Severity: scan.Low, Ranges: []Range{{Fixed: "1:2-3.el9"}}},
			{Ecosystem: "Red Hat:9", Name: "b", By: BySource, Status: WontFix}}},
		{ID: "CVE-2023-0003", Affected: []Affected{{Ecosystem: "npm", Name: "a", All: true}, fixed("npm", "c", "nonsense")}},
		{ID: "CVE-2023-0003", Source: "other", Affected: []Affected{{Ecosystem: "npm", Name: "a", Status: NotAffected}}},
		{ID: "OTHER-1", Source: "other", Aliases: []string{"GHSA-a"}, Affected: []Affected{fixed("npm", "a", "1.1.0")}},
	}
	for i := range 40 {
		records = append(records, Record{ID: fmt.Sprintf("CVE-2024-%05d", 10000+i), Summary: fmt.Sprint("number ", i), Affected: []Affected{fixed("Debian:12", fmt.Sprintf("p%d", i%7), fmt.Sprintf("1.%d-1", i))}})
	}
	return records, []Extra{
		{CVE: "CVE-2023-0001", KEV: &scan.KEV{Added: day("2023-01-01")}, CVSS: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"},
		{CVE: "CVE-2023-0001", KEV: &scan.KEV{Due: day("2023-02-01"), Ransomware: true}},
		{CVE: "CVE-2023-0001", KEV: &scan.KEV{Added: day("2023-01-03"), Due: day("2023-02-03")}},
		{CVE: "CVE-2023-0002", EPSS: &scan.EPSS{Score: 0.5, Percentile: 0.25}},
		{CVE: "CVE-2023-0002", EPSS: &scan.EPSS{Score: 0.6, Percentile: 0.25}},
		{CVE: "CVE-2023-0004", SSVC: &scan.SSVC{Exploitation: "poc"}},
		{CVE: "CVE-2023-0004", SSVC: &scan.SSVC{Exploitation: "none", Impact: "total"}},
	}
}

func mixedPackages() []scan.Package {
	return []scan.Package{
		{Ecosystem: "npm", Name: "a", Version: "1.1.0"}, {Ecosystem: "npm", Name: "a", Version: "odd one"}, {Ecosystem: "npm", Name: "c", Version: "1.0.0"},
		{Ecosystem: "Red Hat:9", Name: "a", Version: "1:1-1.module+el9", Module: "a:1:2:3", Arch: "x86_64"}, {Ecosystem: "Red Hat:9", Name: "bb", Source: "b", Version: "1-1"},
		{Ecosystem: "Debian:12", Name: "p3", Version: "1.0-1"}, {Ecosystem: "Binary", Name: "node", Version: "1.0"}, {Ecosystem: "Ubuntu:22.04", Name: "x", Version: "1"},
	}
}

func mixedBytes(t testing.TB) []byte {
	t.Helper()
	records, extras := mixed()
	return database(t, Options{Prose: true}, records, extras...).all
}

func TestOrderOfRecordsChangesNothing(t *testing.T) {
	records, extras := mixed()
	want := mixedBytes(t)
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		r.Shuffle(len(extras), func(i, j int) { extras[i], extras[j] = extras[j], extras[i] })
		if got := database(t, Options{Prose: true}, records, extras...).all; !bytes.Equal(got, want) {
			t.Fatal("another order of records makes other bytes")
		}
	}
}

func TestRecordsAddUp(t *testing.T) {
	d := database(t, Options{}, []Record{
		{ID: "CVE-2023-0001", Modified: day("2023-01-01"), Affected: []Affected{fixed("Debian:12", "a", "1"), fixed("Debian:12", "b", "1")}},
		{ID: "CVE-2023-0001", Modified: day("2023-01-02"), Affected: []Affected{fixed("Debian:12", "b", "2")}},
		{ID: "CVE-2023-0002", Modified: day("2023-01-01"), Affected: []Affected{fixed("Debian:12", "a", "9")}},
		{ID: "CVE-2023-0002", Modified: day("2023-01-02"), Withdrawn: day("2023-01-02")},
	})
	findings, _ := d.Match(scan.Release{}, []scan.Package{{Ecosystem: "Debian:12", Name: "a", Version: "0"}, {Ecosystem: "Debian:12", Name: "b", Version: "0"}})
	want := []string{"CVE-2023-0001 fix 1", "CVE-2023-0001 fix 2"}
	if got := brief(findings); !slices.Equal(got, want) {
		t.Errorf("findings: %q, want %q", got, want)
	}
}

func TestAddRefuses(t *testing.T) {
	b := NewBuilder(Options{})
	for name, r := range map[string]Record{
		"no id":        {Source: "s"},
		"no source":    {ID: "x"},
		"no ecosystem": {ID: "x", Source: "s", Affected: []Affected{{Name: "a", All: true}}},
		"no name":      {ID: "x", Source: "s", Affected: []Affected{{Ecosystem: "npm", All: true}}},
		"too many ids": {ID: "x", Source: "s", Aliases: make([]string, maxIDs+1)},
	} {
		if b.Add(r) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, e := range map[string]Extra{
		"no CVE": {CVE: "GHSA-x"}, "CVSS": {CVE: "CVE-2023-0001", CVSS: "CVSS:3.1/nonsense"},
		"EPSS": {CVE: "CVE-2023-0001", EPSS: &scan.EPSS{Score: 2}}, "SSVC": {CVE: "CVE-2023-0001", SSVC: &scan.SSVC{Exploitation: "maybe"}},
	} {
		if b.Extra(e) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := b.Add(Record{ID: "x", Source: "undeclared", Affected: []Affected{fixed("npm", "a", "1.0.0")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Bytes(); err == nil {
		t.Error("a database of an undeclared source was built")
	}
}

func TestWriteOpenLookup(t *testing.T) {
	records, extras := mixed()
	b := NewBuilder(Options{Prose: true, Built: day("2024-05-06")})
	b.Source(scan.Source{Name: "test", Licence: "none"})
	b.Source(scan.Source{Name: "other", Licence: "none"})
	for _, r := range records {
		if r.Source == "" {
			r.Source = "test"
		}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range extras {
		if err := b.Extra(e); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "db")
	info, err := b.Write(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(t.TempDir()); err == nil {
		t.Error("a folder was taken for a file")
	}
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Errorf("files left behind: %v, %v", list, err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if !info.Built.Equal(day("2024-05-06")) || !cmp.Equal(info, d.Info()) {
		t.Errorf("info: %+v, %+v", info, d.Info())
	}
	for _, id := range []string{"CVE-2023-0001", "GHSA-a", "OTHER-1"} {
		list, err := d.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range list {
			ids = append(ids, e.Source+" "+e.ID)
		}
		if want := []string{"other OTHER-1", "test GHSA-a", "test RHSA-1"}; !slices.Equal(ids, want) {
			t.Errorf("look up %s: %q, want %q", id, ids, want)
		}
	}
	list, err := d.Lookup("GHSA-a")
	if err != nil {
		t.Fatal(err)
	}
	a := list[1]
	if a.Summary != "a summary" || a.Details != "many details" || a.URL != "https://example.org/a" || a.Score != 9.8 || a.Severity != scan.High ||
		!cmp.Equal(a.KEV, &scan.KEV{Added: day("2023-01-01"), Due: day("2023-02-01"), Ransomware: true}) {
		t.Errorf("advisory: %+v", a)
	}
	if diff := cmp.Diff([]string{"CVE-2023-0001", "OTHER-1"}, a.Aliases); diff != "" {
		t.Errorf("aliases: %s", diff)
	}
	want := []Affected{{Ecosystem: "npm", Name: "a", By: ByBinary, Ranges: []Range{{Introduced: "1.0.0", Fixed: "1.2.0"}, {Introduced: "2.0.0", LastAffected: "2.1.0"}, {Introduced: "3.0.0"}}, Versions: []string{"odd one", "0.1.0"}}}
	if diff := cmp.Diff(want, a.Affected); diff != "" {
		t.Errorf("affected (-want +got):\n%s", diff)
	}
	if list, err := d.Lookup("CVE-2023-0004"); err != nil || len(list) != 1 || list[0].SSVC == nil || list[0].SSVC.Exploitation != "poc" || list[0].SSVC.Impact != "total" {
		t.Errorf("facts alone: %+v, %v", list, err)
	}
	if list, err := d.Lookup("nothing"); err != nil || list != nil {
		t.Errorf("unknown id: %+v, %v", list, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	whole := mixedBytes(t)
	other := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(other[8:], formatVersion+1)
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"empty": {nil, ErrFormat}, "text": {bytes.Repeat([]byte("text"), 1000), ErrFormat}, "cut": {whole[:len(whole)-1], ErrFormat},
		"header alone": {whole[:headerSize], ErrFormat}, "newer": {other, ErrVersion},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, d, err, c.want)
		}
	}
	if _, err := Open(dir); err == nil {
		t.Error("a folder was opened")
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestDamageNeverGoesUnnoticed flips every byte: Verify must see it, and
// nothing may panic on what is then read.
func TestDamageNeverGoesUnnoticed(t *testing.T) {
	whole := mixedBytes(t)
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xFF} {
			b := bytes.Clone(whole)
			b[i] ^= flip
			d, err := Read(b)
			if err != nil {
				continue
			}
			if d.Verify() == nil {
				t.Fatalf("byte %d flipped by %#x: verified", i, flip)
			}
			useAll(d)
		}
	}
}

// useAll follows everything in a database.
func useAll(d *DB) {
	findings, _ := d.Match(scan.Release{}, mixedPackages())
	_ = d.Describe(findings)
	_, _ = d.Lookup("CVE-2023-0001")
	_, _ = d.Lookup("GHSA-a")
}

func TestFileCutWhileMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, mixedBytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	findings, gaps := d.Match(scan.Release{}, mixedPackages())
	if len(findings) != 0 || !slices.Contains(gaps, damageGap) {
		t.Errorf("findings %v, gaps %v", findings, gaps)
	}
	if _, err := d.Lookup("GHSA-a"); !errors.Is(err, ErrFormat) {
		t.Errorf("look up: %v", err)
	}
}

func FuzzDatabase(f *testing.F) {
	whole := mixedBytes(f)
	f.Add(whole, 0, []byte{})
	f.Add(whole, headerSize+4, []byte{0xFF, 0xFF})
	f.Add(whole[:len(whole)/2], 100, []byte{1})
	f.Fuzz(func(t *testing.T, b []byte, at int, patch []byte) {
		if at >= 0 && at < len(b) {
			b = bytes.Clone(b)
			copy(b[at:], patch)
		}
		if d, err := Read(b); err == nil {
			_ = d.Verify()
			useAll(d)
		}
	})
}
