package vuln

import (
	"cmp"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// notes collects what a Match could not judge.
type notes struct {
	damaged    bool
	streams    bool
	versions   map[[2]string]string // ecosystem, name -> version
	unreadable map[uint32]bool      // advisories
	programs   map[string]bool
}

func (n *notes) version(p *scan.Package, text string) {
	if n.versions == nil {
		n.versions = map[[2]string]string{}
	}
	n.versions[[2]string{p.Ecosystem, p.Name}] = text
}

func (n *notes) broken(advisory uint32) {
	if n.unreadable == nil {
		n.unreadable = map[uint32]bool{}
	}
	n.unreadable[advisory] = true
}

func (n *notes) program(name string) {
	if n.programs == nil {
		n.programs = map[string]bool{}
	}
	n.programs[name] = true
}

var damageGap = scan.Gap{
	Where: "advisory database", What: "the database is damaged",
	Means: "vulnerabilities may be missing from this report", Do: "fetch or build it again: gabion db verify tells more",
}

// guardFaults turns a fault of the mapped file into a call of damaged. Use it
// as defer guardFaults(f)().
func guardFaults(damaged func()) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			damaged()
		}
	}
}

func (m *matcher) allGaps() []scan.Gap {
	var gaps []scan.Gap
	missing := map[string]int{}
	for _, p := range m.places {
		switch name := Ecosystem(p.written); {
		case !p.known:
			missing[name] += p.packages
		case m.partial(p) != "":
			gaps = append(gaps, scan.Gap{
				Where: name, What: "the advisories in this database are not all there are: " + m.partial(p),
				Means: fmt.Sprintf("%d packages may have vulnerabilities that are not in this report", p.packages),
				Do:    "use a complete database: gabion db update",
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		gaps = append(gaps, scan.Gap{
			Where: name, What: "the database has no advisories for this ecosystem",
			Means: fmt.Sprintf("what is vulnerable in %d packages is not known", missing[name]),
			Do:    "use a database that has them: gabion db update",
		})
	}
	if m.notes.damaged {
		gaps = append(gaps, damageGap)
	}
	for key, text := range m.notes.versions {
		gaps = append(gaps, scan.Gap{
			Where: strings.TrimSpace(key[0] + " " + key[1]), What: fmt.Sprintf("version %.80q cannot be ordered", text),
			Means: "advisories for the package could be compared with exact versions only",
			Do:    "look the package up by hand: gabion db lookup",
		})
	}
	for n := range m.notes.unreadable {
		if a, ok := m.d.advisory(n); ok {
			id, _ := m.d.id(a.id)
			gaps = append(gaps, scan.Gap{
				Where: id, What: "the advisory has versions that cannot be ordered", Minor: true,
				Means: "whether it concerns the packages it names is not known", Do: "read the advisory",
			})
		}
	}
	if m.notes.streams {
		gaps = append(gaps, scan.Gap{
			Where: "rpm modules", What: "modular packages do not say which stream they belong to", Minor: true,
			Means: "advisories of other streams are reported too", Do: "scan the image instead of a list that leaves module labels out",
		})
	}
	if len(m.notes.programs) > 0 {
		gaps = append(gaps, scan.Gap{
			Where: "programs without a package manager", What: "the database has no advisories for " + strings.Join(slices.Sorted(maps.Keys(m.notes.programs)), ", "),
			Means: "what is vulnerable in them is not known", Minor: true,
		})
	}
	slices.SortFunc(gaps, func(a, b scan.Gap) int { return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.What, b.What)) })
	return gaps
}

// partial says what is missing of the sources for a place, when all of them
// miss something.
func (m *matcher) partial(p *place) string {
	var why []string
	for _, t := range p.tables {
		for _, s := range m.d.meta.Ecosystems[t.ecosystem].Sources {
			source := m.d.meta.Sources[s]
			if source.Partial == "" {
				return ""
			}
			if w := source.Name + ": " + source.Partial; !slices.Contains(why, w) {
				why = append(why, w)
			}
		}
	}
	return strings.Join(why, "; ")
}

// address tells where people read about a vulnerability, by the form of its id.
func address(id string) string {
	for _, a := range [...][2]string{
		{"CVE-", "https://www.cve.org/CVERecord?id="},
		{"GHSA-", "https://github.com/advisories/"},
		{"GO-", "https://pkg.go.dev/vuln/"},
		{"RUSTSEC-", "https://rustsec.org/advisories/"},
		{"DSA-", "https://security-tracker.debian.org/tracker/"},
		{"DLA-", "https://security-tracker.debian.org/tracker/"},
		{"RHSA-", "https://access.redhat.com/errata/"},
		{"USN-", "https://ubuntu.com/security/notices/"},
		{"PYSEC-", "https://osv.dev/vulnerability/"},
		{"ALSA-", "https://osv.dev/vulnerability/"},
	} {
		if strings.HasPrefix(id, a[0]) {
			return a[1] + id
		}
	}
	return ""
}
