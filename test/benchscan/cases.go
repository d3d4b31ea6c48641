package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kase is one way of running one tool.
type kase struct {
	tool, name string
	args       []string
	exits      []int // that mean that it did what it was asked for
	prepare    func() error
	output     string // document with the packages; "": none
	parse      func([]byte) ([]pkg, error)
	does       string // in words, for the page
	costs      []cost
}

// cost is what meter tells.
type cost struct {
	CPU  float64 `json:"cpu"`
	Wall float64 `json:"wall"`
	RSS  float64 `json:"rss"`
	Exit int     `json:"exit"`
}

// of gives the best and the median of one part of the costs.
func (k *kase) of(part func(cost) float64) (best, median float64) {
	var v []float64
	for _, c := range k.costs {
		v = append(v, part(c))
	}
	slices.Sort(v)
	return v[0], v[len(v)/2]
}

func cpuOf(c cost) float64  { return c.CPU }
func wallOf(c cost) float64 { return c.Wall }
func rssOf(c cost) float64  { return c.RSS }

// all lists what is measured, in the order of the page.
func all(o options) ([]*kase, error) {
	image, changed := filepath.Join(o.images, "image.tar"), filepath.Join(o.images, "changed.tar")
	at := func(name string) string { return filepath.Join(o.work, name) }
	gone := func(dir string) func() error { return func() error { return os.RemoveAll(dir) } }
	list := []*kase{{
		tool: "floor", name: "cold", args: []string{filepath.Join(o.helpers, "floor"), image},
		does: "reads the layers, takes both digests, walks the tar; nothing else, and nothing side by side",
	}}

	scan := func(cache string, more ...string) []string {
		return append([]string{o.gabion, "scan", "--cache", cache, "--allow-incomplete"}, more...)
	}
	kept := func(dir, from string) func() error {
		return func() error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return os.CopyFS(dir, os.DirFS(at(from)))
		}
	}
	list = append(list,
		&kase{tool: "gabion", name: "cold, inventory only", prepare: gone(at("cache-inventory")),
			args: scan(at("cache-inventory"), "--skip", "vulnerabilities,secrets,checks,licenses", "-o", "json="+at("gabion-inventory.json"), image),
			does: "packages, and digests of all executables and libraries: what the other tools are asked for, and more"},
		&kase{tool: "gabion", name: "cold, secrets off", prepare: gone(at("cache-off")), output: at("gabion.json"), parse: fromGabion,
			args: scan(at("cache-off"), "--skip", "secrets", "-o", "json="+at("gabion.json"), image),
			does: "the same, matched against the embedded database, image checks, licences, priorities, fix plan"},
		&kase{tool: "gabion", name: "cold, secrets on", prepare: gone(at("cache-on")),
			args: scan(at("cache-on"), "-o", "json="+at("gabion-on.json"), image),
			does: "the same and secrets in every layer: what `gabion scan` does unasked"},
		&kase{tool: "gabion", name: "all layers cached",
			args: scan(at("cache-on"), "-o", "json="+at("gabion-warm.json"), image),
			does: "the same again, another process"},
		&kase{tool: "gabion", name: "one layer changed", prepare: kept(at("cache-changed"), "cache-on"),
			args: scan(at("cache-changed"), "-o", "json="+at("gabion-changed.json"), changed),
			does: "the same image with a small layer more on top"},
	)

	if bin := rival(o, "trivy"); bin != "" {
		if err := emptyJavaDB(at("trivy")); err != nil {
			return nil, err
		}
		args := func(out, image string) []string {
			return []string{bin, "image", "--input", image, "--cache-dir", at("trivy"), "--offline-scan", "--skip-db-update", "--skip-java-db-update",
				"--skip-vex-repo-update", "--skip-version-check", "--disable-telemetry", "--quiet", "--format", "cyclonedx", "--output", out}
		}
		warm := args(at("trivy-warm.json"), image)
		list = append(list,
			&kase{tool: "trivy", name: "cold", prepare: gone(at("trivy/fanal")), output: at("trivy.json"), parse: fromCycloneDX, args: args(at("trivy.json"), image),
				does: "CycloneDX, no security scanning; the Java database is an empty one, so that jars are named by what they say of themselves; executables are not hashed"},
			&kase{tool: "trivy", name: "all layers cached", args: warm, does: "the same again"},
			&kase{tool: "trivy", name: "one layer changed", args: args(at("trivy-changed.json"), changed),
				does: "a small layer more on top",
				prepare: func() error {
					if err := os.RemoveAll(at("trivy/fanal")); err != nil {
						return err
					}
					return exec.Command(warm[0], warm[1:]...).Run()
				}})
	}
	if bin := rival(o, "syft"); bin != "" {
		list = append(list, &kase{tool: "syft", name: "cold", output: at("syft.json"), parse: fromSyft,
			args: []string{bin, "scan", "docker-archive:" + image, "-q", "-o", "syft-json=" + at("syft.json")},
			does: "its own JSON; it has no cache of layers. grype's inventory is this one: without its database it lists nothing and is not measured"})
	}
	if bin := rival(o, "osv-scanner"); bin != "" {
		list = append(list, &kase{tool: "osv-scanner", name: "cold", exits: []int{127}, output: at("osv.json"), parse: fromOSV,
			args: []string{bin, "scan", "image", "--archive", image, "--offline", "--format", "json", "--all-packages", "--output-file", at("osv.json")},
			does: "JSON with all packages; it has no cache of layers, and ends with 127 because it has no database"})
	}
	return list, nil
}

func rival(o options, name string) string {
	bin := filepath.Join(o.rivals, name)
	if o.rivals == "" {
		return ""
	}
	if _, err := os.Stat(bin); err != nil {
		fmt.Fprintf(os.Stderr, "benchscan: %s is left out: %v\n", name, err)
		return ""
	}
	return bin
}

// measure runs every case as often as asked, the cases in turns. The first turn
// only warms the disk cache and is not counted.
func measure(o options, cases []*kase) error {
	home := filepath.Join(o.work, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	env := append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"),
		"SYFT_CHECK_FOR_APP_UPDATE=false", "GABION_DB_KEY=")
	for turn := range o.runs + 1 {
		for _, k := range cases {
			if k.prepare != nil {
				if err := k.prepare(); err != nil {
					return fmt.Errorf("prepare %s, %s: %w", k.tool, k.name, err)
				}
			}
			log := filepath.Join(o.work, "log")
			cmd := exec.Command(filepath.Join(o.helpers, "meter"), append([]string{log}, k.args...)...)
			cmd.Env, cmd.Dir, cmd.Stderr = env, o.work, os.Stderr
			text, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("measure %s, %s: %w", k.tool, k.name, err)
			}
			var c cost
			if err := json.Unmarshal(text, &c); err != nil {
				return fmt.Errorf("measure %s, %s: %w", k.tool, k.name, err)
			}
			if c.Exit != 0 && !slices.Contains(k.exits, c.Exit) {
				said, _ := os.ReadFile(log)
				return fmt.Errorf("%s, %s: exit code %d: %s", k.tool, k.name, c.Exit, last(string(said), 5))
			}
			fmt.Fprintf(os.Stderr, "benchscan: %d/%d %-12s %-22s %6.2f CPU-s %6.2f s %6.1f MiB\n", turn, o.runs, k.tool, k.name, c.CPU, c.Wall, c.RSS)
			if turn > 0 {
				k.costs = append(k.costs, c)
			}
		}
	}
	return nil
}

func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// find gives a case, nil when it was not measured.
func find(cases []*kase, tool, name string) *kase {
	for _, k := range cases {
		if k.tool == tool && k.name == name {
			return k
		}
	}
	return nil
}

// costs turns what was measured into figures with the targets there are.
func costs(cases []*kase) []Row {
	targets := map[string][2]float64{ // CPU seconds, MiB
		"gabion, cold, secrets off": {5, 64},
		"gabion, cold, secrets on":  {5, 64},
		"gabion, all layers cached": {0.05, 40},
		"gabion, one layer changed": {0, 0},
	}
	var rows []Row
	for _, k := range cases {
		name := k.tool + ", " + k.name
		t := targets[name]
		cpu, _ := k.of(cpuOf)
		wall, _ := k.of(wallOf)
		_, rss := k.of(rssOf)
		rows = append(rows, lower(name+", processor time", cpu, "s", t[0]), lower(name+", time", wall, "s", 0), lower(name+", peak memory", rss, "MiB", t[1]))
	}
	ratio := func(name string, a, b *kase, part func(cost) float64, target float64) {
		if a == nil || b == nil {
			return
		}
		_, x := a.of(part)
		_, y := b.of(part)
		rows = append(rows, lower(name, x/y, "ratio", target))
	}
	cold, warm := find(cases, "gabion", "cold, secrets off"), find(cases, "gabion", "all layers cached")
	ratio("gabion cold to floor, processor time", cold, find(cases, "floor", "cold"), cpuOf, 0)
	for _, tool := range []string{"trivy", "syft", "osv-scanner"} {
		ratio("gabion cold to "+tool+" cold, processor time", cold, find(cases, tool, "cold"), cpuOf, 1)
		ratio("gabion cold to "+tool+" cold, peak memory", cold, find(cases, tool, "cold"), rssOf, 1)
	}
	ratio("gabion cached to trivy cached, processor time", warm, find(cases, "trivy", "all layers cached"), cpuOf, 1)
	ratio("gabion cached to trivy cached, peak memory", warm, find(cases, "trivy", "all layers cached"), rssOf, 1)
	if cold != nil {
		// Of the best turns: others who work on the machine make the median theirs.
		cpu, _ := cold.of(cpuOf)
		wall, _ := cold.of(wallOf)
		rows = append(rows, lower("gabion cold, time to processor time", wall/cpu, "ratio", 0.6))
	}
	return rows
}
