package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gabion-dev/gabion"

// rooms says which rooms a room may import besides itself. A room is the
// longest entry that is a prefix of a package's path below the module.
// "cli" is the roof and may import everything.
var rooms = map[string][]string{
	"event":         {"workload"},
	"workload":      {},
	"content":       {},
	"facts":         {"event", "workload"},
	"api":           {"workload"},
	"policy":        {"api", "facts", "event", "workload", "content"},
	"scan":          below("policy", "internal"),
	"admit":         below("policy"),
	"guard":         below("policy", "internal"),
	"audit":         below("policy"),
	"respond":       below("policy", "internal"),
	"fleet":         below("policy", "internal"),
	"console":       below("fleet", "ui", "internal"),
	"scenario":      below("policy", "internal"),
	"ui":            {},
	"cli":           {"*"},
	"cmd":           {"cli", "internal", "scenario"},
	"test":          {"*"},
	"internal":      {"event", "workload"},
	"internal/term": {},
}

// below gives the rooms that everything from policy up may use, and more.
func below(more ...string) []string {
	return append([]string{"policy", "content", "api", "facts", "event", "workload"}, more...)
}

// thirdParty says which rooms may import a module (by longest prefix), and
// why it is there at all; docs/dependencies.md tells the longer story.
var thirdParty = map[string]struct {
	why   string
	rooms []string
}{
	"github.com/spf13/cobra":                    {"command line, man pages, completion", []string{"cli", "cmd"}},
	"github.com/spf13/pflag":                    {"flags of cobra", []string{"cli"}},
	"golang.org/x/term":                         {"is this a terminal", []string{"internal/term", "cli"}},
	"golang.org/x/sys":                          {"system calls", []string{"guard", "internal", "scenario", "console", "fleet", "cli", "test", "scan"}},
	"golang.org/x/sync":                         {"groups of goroutines that are waited for", []string{"guard", "fleet", "console", "scenario", "respond", "internal", "cli", "scan"}},
	"golang.org/x/crypto":                       {"argon2id for passwords", []string{"console"}},
	"github.com/cilium/ebpf":                    {"loads kernel programs", []string{"guard/kernel", "guard/firewall"}},
	"github.com/vishvananda/netlink":            {"interfaces and routes", []string{"guard", "scenario", "internal", "test"}},
	"github.com/vishvananda/netns":              {"network namespaces", []string{"guard", "scenario", "internal", "test"}},
	"github.com/nats-io/nats-server":            {"the embedded bus", []string{"fleet/bus"}},
	"github.com/nats-io/nats.go":                {"the bus's client", []string{"fleet/bus"}},
	"modernc.org/sqlite":                        {"the store, pure Go", []string{"fleet/store", "test/benchscan"}},
	"github.com/danielgtaylor/huma":             {"HTTP API with OpenAPI 3.1", []string{"console"}},
	"github.com/getkin/kin-openapi":             {"checks the committed API description", []string{"console"}},
	"github.com/google/cel-go":                  {"expressions over events", []string{"respond", "guard/detect"}},
	"go.yaml.in/yaml/v4":                        {"YAML nodes with positions", []string{"api", "policy", "content", "scenario", "fleet/folder", "scan"}},
	"sigs.k8s.io/yaml":                          {"YAML by way of JSON", []string{"api", "policy", "cli", "scenario", "guard", "scan"}},
	"k8s.io/apimachinery":                       {"object metadata of the kinds", []string{"api", "policy", "guard", "respond", "cli", "scenario", "scan"}},
	"k8s.io/cri-api":                            {"CRI sockets", []string{"guard/container"}},
	"google.golang.org/grpc":                    {"containerd and CRI sockets", []string{"guard/container", "scan/image"}},
	"google.golang.org/protobuf":                {"messages of containerd and CRI", []string{"guard/container", "scan/image", "scan/sign"}},
	"github.com/containerd/containerd/api":      {"containerd's services", []string{"guard/container", "scan/image"}},
	"github.com/containerd/nri":                 {"runtimes that ask before they start a container", []string{"guard/container"}},
	"github.com/containerd/typeurl":             {"containerd's event envelopes", []string{"guard/container", "scan/image"}},
	"github.com/opencontainers/runtime-spec":    {"OCI specification of a container", []string{"guard/container", "internal"}},
	"github.com/google/osv-scalibr":             {"extractors of packages", []string{"scan/inventory"}},
	"github.com/google/go-containerregistry":    {"registries, image archives and layouts", []string{"scan/image", "scan/sign", "scan/registry", "scan/server", "scan/vuln/pack", "scan/secret", "test"}},
	"oras.land/oras-go":                         {"referrers of an image", []string{"scan/sign"}},
	"github.com/klauspost/compress":             {"gzip and zstd, faster than the standard library", []string{"scan", "cli/platform/images", "test/benchscan"}},
	"github.com/CycloneDX/cyclonedx-go":         {"CycloneDX documents", []string{"scan/sbom", "scan/decide/vex"}},
	"github.com/spdx/tools-golang":              {"SPDX documents", []string{"scan/sbom"}},
	"github.com/pandatix/go-cvss":               {"scores of CVSS vectors", []string{"scan/vuln"}},
	"github.com/package-url/packageurl-go":      {"package URLs", []string{"scan"}},
	"github.com/openvex/go-vex":                 {"OpenVEX documents", []string{"scan/decide/vex"}},
	"github.com/sigstore/sigstore-go":           {"sigstore signatures and bundles", []string{"scan/sign"}},
	"github.com/sigstore/protobuf-specs":        {"messages of sigstore bundles", []string{"scan/sign"}},
	"github.com/sigstore/sigstore":              {"verifiers of public keys, as sigstore-go takes them", []string{"scan/sign"}},
	"github.com/notaryproject/notation-go":      {"notation signatures", []string{"scan/sign"}},
	"github.com/notaryproject/notation-core-go": {"notation signature envelopes", []string{"scan/sign"}},
	"github.com/opencontainers/go-digest":       {"digests in the types of registries", []string{"scan/sign", "scan/image", "scan/registry", "scan/server"}},
	"github.com/opencontainers/image-spec":      {"types of OCI images", []string{"scan/sign", "scan/image"}},
	"github.com/santhosh-tekuri/jsonschema":     {"checks documents against their schemas in tests", []string{"test"}},
	"github.com/google/go-cmp":                  {"differences in tests", []string{"*"}},
	"github.com/rogpeppe/go-internal":           {"scripts in tests", []string{"*"}},
	"pgregory.net/rapid":                        {"random tests", []string{"*"}},
	"go.uber.org/goleak":                        {"leaked goroutines in tests", []string{"*"}},
}

func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		room := roomOf(f.pkg)
		if room == "" {
			t.Errorf("%s: package %s belongs to no room; give it one in archtest", f.name, f.pkg)
			continue
		}
		for _, imp := range f.imports {
			if own, ok := strings.CutPrefix(imp, module+"/"); ok {
				to := roomOf(own)
				if to != room && !allowed(rooms[room], to) && !allowed(rooms[room], top(to)) && top(to) != top(room) {
					t.Errorf("%s: room %s may not import room %s (%s)", f.name, room, to, imp)
				}
				continue
			}
			if standard(imp) {
				continue
			}
			mod, rule := longest(imp)
			if mod == "" {
				t.Errorf("%s: %s is not in the table of third-party packages", f.name, imp)
				continue
			}
			if !f.test && !slices.ContainsFunc(rule, func(r string) bool { return r == "*" || f.pkg == r || strings.HasPrefix(f.pkg, r+"/") }) {
				t.Errorf("%s: %s may be imported in %v only", f.name, mod, rule)
			}
		}
	}
}

// TestGround keeps event and workload free of everything but the standard library.
func TestGround(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || (f.pkg != "event" && f.pkg != "workload") {
			continue
		}
		for _, imp := range f.imports {
			if !standard(imp) && imp != module+"/workload" {
				t.Errorf("%s: the ground imports the standard library only, not %s", f.name, imp)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	commented := map[string]bool{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		commented[f.pkg] = commented[f.pkg] || f.doc != ""
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// TestNoInit refuses init functions outside generated code.
func TestNoInit(t *testing.T) {
	for _, f := range sources(t) {
		if f.hasInit && !f.generated {
			t.Errorf("%s: no init functions: wire it explicitly", f.name)
		}
	}
}

type source struct {
	name, pkg string
	test      bool
	generated bool
	hasInit   bool
	doc       string
	imports   []string
}

func sources(t *testing.T) []source {
	t.Helper()
	root := "../.."
	var out []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s := source{name: rel, pkg: path.Dir(filepath.ToSlash(rel)), test: strings.HasSuffix(p, "_test.go")}
		s.generated = strings.Contains(string(data[:min(len(data), 200)]), "Code generated")
		s.hasInit = strings.Contains("\n"+string(data), "\nfunc init()")
		if file.Doc != nil {
			s.doc = file.Doc.Text()
		}
		for _, i := range file.Imports {
			v, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, v)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d Go files below %s: is the test run from its folder?", len(out), root)
	}
	return out
}

func roomOf(pkg string) string {
	best := ""
	for r := range rooms {
		if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

// standard tells the standard library by the missing dot in the first element.
func standard(imp string) bool { return !strings.Contains(strings.Split(imp, "/")[0], ".") }

func top(pkg string) string { return strings.SplitN(pkg, "/", 2)[0] }

func allowed(list []string, to string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, to)
}

func longest(imp string) (string, []string) {
	best := ""
	for m := range thirdParty {
		if (imp == m || strings.HasPrefix(imp, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best, thirdParty[best].rooms
}

// TestDependenciesAreExplained: every module that is required directly is in
// the table above and in docs/dependencies.md.
func TestDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(string(mod), "\n") {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.HasPrefix(line, "\t") || !strings.HasPrefix(f[1], "v") {
			continue // an indirect one has a comment behind it
		}
		n++
		table, _ := longest(f[0])
		if table == "" {
			t.Errorf("%s is required but not in the table of third-party packages", f[0])
		}
		// The list groups modules: the last part of the name is what it shows.
		name := path.Base(f[0])
		if strings.HasPrefix(name, "v") && len(name) <= 3 {
			name = path.Base(path.Dir(f[0]))
		}
		if !strings.Contains(string(doc), name) {
			t.Errorf("%s is required but docs/dependencies.md does not say why", f[0])
		}
	}
	if n < 10 {
		t.Fatalf("only %d direct requirements found in go.mod", n)
	}
}
