package decide

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Difference is what changed from one report to another. Lists are sorted.
type Difference struct {
	Old      Side              `json:"old"`
	New      Side              `json:"new"`
	Packages PackageDifference `json:"packages"`
	Findings FindingDifference `json:"findings"`
	Secrets  SecretDifference  `json:"secrets"`
	Checks   CheckDifference   `json:"checks"`
	Licenses LicenseDifference `json:"licenses"`
	Config   []Change          `json:"config,omitempty"`
	Layers   LayerDifference   `json:"layers"`
}

// Side names one of the two reports.
type Side struct {
	Name     string `json:"name"`
	Digest   string `json:"digest,omitempty"`
	Release  string `json:"release,omitempty"`
	Database string `json:"database,omitempty"` // digest
	// Incomplete: what seems to be missing may not have been examined.
	Incomplete bool `json:"incomplete,omitempty"`
}

// PackageDifference lists packages. One that is in the same place with another
// version is Changed; without a place in common it is removed and added.
type PackageDifference struct {
	Added   []scan.Package  `json:"added,omitempty"`
	Removed []scan.Package  `json:"removed,omitempty"`
	Changed []PackageChange `json:"changed,omitempty"`
}

// PackageChange is a package with other versions in the same place.
type PackageChange struct {
	Ecosystem string   `json:"ecosystem,omitempty"`
	Name      string   `json:"name"`
	Arch      string   `json:"arch,omitempty"`
	Path      string   `json:"path,omitempty"`
	Old       []string `json:"old"` // versions; kernels and the like have several
	New       []string `json:"new"`
}

// FindingDifference lists findings that count: open ones and those that will
// not be fixed. A finding is the same while its vulnerability is found in the
// same package, whatever its version; one that was settled is Settled, not Fixed.
type FindingDifference struct {
	New     []FindingIn `json:"new,omitempty"`
	Fixed   []FindingIn `json:"fixed,omitempty"`   // as the old report had them
	Settled []FindingIn `json:"settled,omitempty"` // as the new report has them
	Still   []FindingIn `json:"still,omitempty"`   // as the new report has them
}

// FindingIn is a finding with its package.
type FindingIn struct {
	scan.Finding
	In scan.Package `json:"in"`
}

// SecretDifference lists secrets that nothing settles.
type SecretDifference struct {
	New  []scan.Secret `json:"new,omitempty"`
	Gone []scan.Secret `json:"gone,omitempty"`
}

// CheckDifference lists checks that fail now or failed before.
type CheckDifference struct {
	New   []scan.Check `json:"new,omitempty"`
	Fixed []scan.Check `json:"fixed,omitempty"` // as the old report had them
}

// LicenseDifference names licences.
type LicenseDifference struct {
	New  []string `json:"new,omitempty"`
	Gone []string `json:"gone,omitempty"`
}

// Change is a value of the configuration that changed; "" is none. Values of
// the environment are not told, since some are secrets: "set", or "changed".
type Change struct {
	Field string `json:"field"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

// LayerDifference counts layers by content.
type LayerDifference struct {
	Same    int `json:"same"`
	Added   int `json:"added"`
	Removed int `json:"removed"`
}

// Diff compares two reports. Neither is changed.
func Diff(old, new *scan.Report) Difference {
	d := Difference{Old: sideOf(old), New: sideOf(new)}
	d.Packages = diffPackages(old.Packages, new.Packages)
	d.Findings = diffFindings(old, new)
	d.Secrets.New = secretsWithout(new.Secrets, old.Secrets)
	d.Secrets.Gone = secretsWithout(old.Secrets, new.Secrets)
	d.Checks.New = checksWithout(new.Checks, old.Checks)
	d.Checks.Fixed = checksWithout(old.Checks, new.Checks)
	was, is := licenseNames(old.Licenses), licenseNames(new.Licenses)
	d.Licenses.New, d.Licenses.Gone = keysWithout(is, was), keysWithout(was, is)
	d.Config = diffConfig(&old.Image.Config, &new.Image.Config)
	d.Layers = diffLayers(old.Image.Layers, new.Image.Layers)
	return d
}

func sideOf(r *scan.Report) Side {
	release := strings.TrimSpace(r.Release.ID + " " + r.Release.Version)
	return Side{Name: r.Image.Name, Digest: r.Image.Digest, Release: release, Database: r.Database.Digest, Incomplete: r.Incomplete()}
}

// placeKey is a package without its version.
type placeKey struct{ ecosystem, name, arch, path string }

// family drops the release of a distribution: Debian 11's openssl and Debian
// 12's are the same package.
func family(ecosystem string) string {
	name, _, _ := strings.Cut(ecosystem, ":")
	return name
}

func place(p *scan.Package) placeKey {
	return placeKey{family(p.Ecosystem), p.Name, p.Arch, p.Path}
}

func diffPackages(old, new []scan.Package) PackageDifference {
	was, is := byPlace(old), byPlace(new)
	var d PackageDifference
	for k, before := range was {
		after := is[k]
		if len(after) == 0 {
			d.Removed = append(d.Removed, before...)
			continue
		}
		a, b := versions(before), versions(after)
		if !slices.Equal(a, b) {
			d.Changed = append(d.Changed, PackageChange{Ecosystem: k.ecosystem, Name: k.name, Arch: k.arch, Path: k.path, Old: a, New: b})
		}
	}
	for k, after := range is {
		if len(was[k]) == 0 {
			d.Added = append(d.Added, after...)
		}
	}
	d.Added, d.Removed = scan.SortPackages(d.Added), scan.SortPackages(d.Removed)
	slices.SortFunc(d.Changed, func(a, b PackageChange) int {
		return cmp.Or(cmp.Compare(a.Ecosystem, b.Ecosystem), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Path, b.Path))
	})
	return d
}

func byPlace(pkgs []scan.Package) map[placeKey][]scan.Package {
	m := make(map[placeKey][]scan.Package, len(pkgs))
	for i := range pkgs {
		k := place(&pkgs[i])
		m[k] = append(m[k], pkgs[i])
	}
	return m
}

func versions(pkgs []scan.Package) []string {
	var v []string
	for i := range pkgs {
		v = append(v, pkgs[i].Version)
	}
	slices.Sort(v)
	return slices.Compact(v)
}

// findingKey is a vulnerability in a package of any version.
type findingKey struct {
	id string
	placeKey
}

func diffFindings(old, new *scan.Report) FindingDifference {
	was, is := findingsOf(old), findingsOf(new)
	var d FindingDifference
	for k, f := range is {
		before, known := was[k]
		switch open := counts(f.State); {
		case open && known && counts(before.State):
			d.Still = append(d.Still, f)
		case open:
			d.New = append(d.New, f)
		case known && counts(before.State):
			d.Settled = append(d.Settled, f)
		}
	}
	for k, f := range was {
		if _, still := is[k]; !still && counts(f.State) {
			d.Fixed = append(d.Fixed, f)
		}
	}
	for _, list := range [][]FindingIn{d.New, d.Fixed, d.Settled, d.Still} {
		slices.SortFunc(list, func(a, b FindingIn) int {
			return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID),
				cmp.Compare(a.In.Name, b.In.Name), cmp.Compare(a.In.Version, b.In.Version), cmp.Compare(a.In.Arch, b.In.Arch),
				cmp.Compare(a.In.Path, b.In.Path))
		})
	}
	return d
}

// findingsOf indexes findings; of the same one in several versions of a package
// the first that counts stands for all.
func findingsOf(r *scan.Report) map[findingKey]FindingIn {
	m := make(map[findingKey]FindingIn, len(r.Findings))
	for i := range r.Findings {
		f := FindingIn{r.Findings[i], *packageOf(r, &r.Findings[i])}
		k := findingKey{f.ID, place(&f.In)}
		if have, ok := m[k]; !ok || !counts(have.State) && counts(f.State) {
			m[k] = f
		}
	}
	return m
}

// secretsWithout gives the open secrets of a that b does not have. A secret is
// the same by fingerprint and place; lines move.
func secretsWithout(a, b []scan.Secret) []scan.Secret {
	key := func(s *scan.Secret) [3]string { return [3]string{s.Detector, s.Where, s.Fingerprint} }
	has := map[[3]string]bool{}
	for i := range b {
		if counts(b[i].State) {
			has[key(&b[i])] = true
		}
	}
	var out []scan.Secret
	for i := range a {
		if k := key(&a[i]); counts(a[i].State) && !has[k] {
			has[k] = true
			out = append(out, a[i])
		}
	}
	return out
}

// checksWithout gives the failed checks of a that do not fail in b.
func checksWithout(a, b []scan.Check) []scan.Check {
	fails := map[string]bool{}
	for i := range b {
		fails[b[i].ID] = b[i].Status == "fail" && counts(b[i].State)
	}
	var out []scan.Check
	for i := range a {
		if a[i].Status == "fail" && counts(a[i].State) && !fails[a[i].ID] {
			out = append(out, a[i])
		}
	}
	return out
}

func licenseNames(list []scan.License) map[string]bool {
	m := map[string]bool{}
	for i := range list {
		m[list[i].License] = true
	}
	return m
}

func keysWithout(a, b map[string]bool) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if !b[k] {
			out = append(out, k)
		}
	}
	return out
}

func diffLayers(old, new []scan.Layer) LayerDifference {
	left := map[string]int{}
	for i := range old {
		left[cmp.Or(old[i].DiffID, old[i].Digest)]++
	}
	d := LayerDifference{Removed: len(old)}
	for i := range new {
		if k := cmp.Or(new[i].DiffID, new[i].Digest); left[k] > 0 {
			left[k]--
			d.Same++
			d.Removed--
		} else {
			d.Added++
		}
	}
	return d
}

func diffConfig(old, new *scan.Config) []Change {
	var out []Change
	add := func(field, a, b string) {
		if a != b {
			out = append(out, Change{field, a, b})
		}
	}
	list := func(l []string) string { return strings.Join(l, " ") }
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	add("created", stamp(old.Created), stamp(new.Created))
	add("user", old.User, new.User)
	add("entrypoint", list(old.Entrypoint), list(new.Entrypoint))
	add("cmd", list(old.Cmd), list(new.Cmd))
	add("workingDir", old.WorkingDir, new.WorkingDir)
	add("exposedPorts", list(sorted(old.ExposedPorts)), list(sorted(new.ExposedPorts)))
	add("volumes", list(sorted(old.Volumes)), list(sorted(new.Volumes)))
	add("healthcheck", list(old.Healthcheck), list(new.Healthcheck))
	was, is := environment(old.Env), environment(new.Env)
	for _, name := range union(was, is) {
		a, had := was[name]
		b, has := is[name]
		switch {
		case had && !has:
			add("env "+name, "set", "")
		case !had:
			add("env "+name, "", "set")
		case a != b:
			add("env "+name, "set", "changed")
		}
	}
	for _, name := range union(old.Labels, new.Labels) {
		add("label "+name, old.Labels[name], new.Labels[name])
	}
	return out
}

func sorted(l []string) []string { return slices.Sorted(slices.Values(l)) }

func environment(env []string) map[string]string {
	m := map[string]string{}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		m[k] = v
	}
	return m
}

func union(a, b map[string]string) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
