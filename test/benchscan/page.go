package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// results are everything that was measured.
type results struct {
	cases       []*kase
	lists       []list
	differences []difference
	rows        []Row
	size        int64 // of the image, packed
	runs        int
}

// page writes everything as Markdown, which a person can read as it is.
func (r results) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Figures of scanning\n\nWritten by `make bench-scan` on %s, on a machine with %d processors, Linux %s. The image is made by `test/benchscan/image.sh`: a Debian 12 root with Python, Ruby, PHP, Perl, nginx and Redis, a large `node_modules`, jars and two Go programs, in four layers of %.0f MB packed. Tools take turns, %d turns after one that is not counted: processor time and time are the best of them with the median in brackets, memory is the median of peaks. The other tools have no network and no advisory database, so they make an inventory and nothing else; rows of Gabion say what it did on top.\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), kernelSeries(), float64(r.size)/1e6, r.runs)
	if load := loadAverage(); load != "" {
		fmt.Fprintf(&b, "\nThe machine's load average was %s at the end; a run by itself makes about 2. With more, times and rates are the neighbours' as much as the tools', and processor time grows a little.\n", load)
	}
	r.side(&b)
	r.did(&b)
	r.found(&b)
	r.explained(&b)
	r.targets(&b)
	return b.String()
}

// versions are those of rivals.sh.
func versions() map[string]string {
	return map[string]string{"trivy": "trivy 0.72.0", "syft": "syft 1.57.0", "osv-scanner": "osv-scanner 2.3.5"}
}

func named(tool string) string {
	if v := versions()[tool]; v != "" {
		return v
	}
	return tool
}

func (r results) side(b *strings.Builder) {
	fmt.Fprint(b, "\n## Side by side\n\n| tool | case | processor time, s | time, s | peak memory, MiB |\n|---|---|---|---|---|\n")
	for _, k := range r.cases {
		cpu, cpuMid := k.of(cpuOf)
		wall, wallMid := k.of(wallOf)
		_, rss := k.of(rssOf)
		fmt.Fprintf(b, "| %s | %s | %.3g (%.3g) | %.3g (%.3g) | %.0f |\n", named(k.tool), k.name, cpu, cpuMid, wall, wallMid, rss)
	}
}

func (r results) did(b *strings.Builder) {
	fmt.Fprint(b, "\n## What each did\n\n| tool | case | |\n|---|---|---|\n")
	for _, k := range r.cases {
		fmt.Fprintf(b, "| %s | %s | %s |\n", named(k.tool), k.name, k.does)
	}
}

func (r results) found(b *strings.Builder) {
	kinds := map[string]bool{}
	count := map[string][2]int{}
	for _, l := range r.lists {
		for key := range index(l.packages) {
			kind, _, _ := strings.Cut(key, " ")
			kinds[kind] = true
			n := count[l.tool+kind]
			n[0]++
			count[l.tool+kind] = n
		}
		for _, p := range l.packages {
			n := count[l.tool+p.kind]
			n[1]++
			count[l.tool+p.kind] = n
		}
	}
	fmt.Fprint(b, "\n## Packages found\n\nDifferent ones by name and version; in brackets with every place they lie in.\n\n| tool |")
	order := sorted(kinds)
	for _, k := range order {
		fmt.Fprintf(b, " %s |", k)
	}
	fmt.Fprint(b, "\n|---|"+strings.Repeat("---|", len(order))+"\n")
	for _, l := range r.lists {
		fmt.Fprintf(b, "| %s |", named(l.tool))
		for _, k := range order {
			n := count[l.tool+k]
			fmt.Fprintf(b, " %d (%d) |", n[0], n[1])
		}
		fmt.Fprintln(b)
	}
}

func (r results) explained(b *strings.Builder) {
	fmt.Fprint(b, "\n## Every difference\n\nBetween Gabion and each of the others, by name and version. What is spelled differently and means the same (case of Go modules, a `v` before a version, an epoch as a qualifier) is no difference.\n\n| other tool | only in | kind | packages | why | for example |\n|---|---|---|---|---|---|\n")
	for _, d := range r.differences {
		in := named(d.tool)
		if d.ours {
			in = "gabion"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %d | %s | %s |\n", named(d.tool), in, d.kind, d.count, d.reason, strings.ReplaceAll(d.example, "|", "\\|"))
	}
}

func (r results) targets(b *strings.Builder) {
	fmt.Fprint(b, "\n## Figures and targets\n\n| figure | value | target | |\n|---|---|---|---|\n")
	missed := 0
	for _, row := range r.rows {
		target, verdict := "-", ""
		if row.Target != 0 {
			sign := "at most"
			if row.Better == "higher" {
				sign = "at least"
			}
			target, verdict = fmt.Sprintf("%s %g", sign, row.Target), "missed"
			if row.OK {
				verdict = "met"
			} else {
				missed++
			}
		}
		fmt.Fprintf(b, "| %s | %.4g %s | %s | %s |\n", row.Name, row.Value, row.Unit, target, verdict)
	}
	fmt.Fprintf(b, "\n%d targets missed.\n", missed)
}

// kernelSeries is the kernel's version without the machine's own suffix.
func kernelSeries() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	parts := strings.SplitN(strings.TrimSpace(string(data)), ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

// loadAverage is that of the last five minutes, "" where it is not told.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(data)); err == nil && len(f) > 1 {
		return f[1]
	}
	return ""
}
