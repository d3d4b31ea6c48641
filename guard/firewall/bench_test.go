package firewall

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// row is one line of bench/results.
type row struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
}

// off takes hooks and floors away, on puts them back: the baseline is measured
// by the same processes a moment before.
func (b *bench) off() {
	b.fw.mu.Lock()
	defer b.fw.mu.Unlock()
	for name, l := range b.fw.hooks {
		must(b.t, detachLink(l))
		delete(b.fw.hooks, name)
	}
	for _, fl := range b.fw.floors {
		for index := range fl.attached {
			must(b.t, b.fw.detach(fl, index))
		}
	}
}

func (b *bench) on(managed *proc) {
	b.fw.mu.Lock()
	defer b.fw.mu.Unlock()
	for _, h := range []string{"connect4", "connect6", "sendmsg4", "sendmsg6"} {
		must(b.t, b.fw.attachHook(h))
	}
	must(b.t, b.fw.needHooks(b.fw.managed[managed.id], flagEgressListed))
	for _, fl := range b.fw.floors {
		must(b.t, inNetns(managed.netns(), func() error { return b.fw.attachAll(fl) }))
	}
}

// BenchmarkConnect compares connections with and without the firewall, in
// processor time of the connecting process: one that is not managed, and one
// whose plan allows the connection by a CIDR among twenty. It also compares
// bulk data over an established connection, both ends together.
//
// With GABION_BENCH_OUT set, the rows are written to connect.json there.
func BenchmarkConnect(tb *testing.B) {
	b := newBench(tb)
	b.open()
	managed, free := b.container(), b.container()
	must(tb, b.maps.Cgroups.Delete(free.c.CgroupID)) // an ordinary process from now on
	for _, p := range []*proc{b.outside} {
		p.want("", order{Op: "listen", Net: "tcp4", To: ":5000"})
		p.want("", order{Op: "sink", Net: "tcp4", To: ":5001"})
	}
	plan := egress(v1alpha1.Protect, rule(1, []string{"10.200.0.0/16"}, tcp(5000, 5001)))
	for i := range 20 {
		plan.Egress = append(plan.Egress, rule(2, []string{"10." + string(rune('1'+i%9)) + ".0.0/16"}, tcp(1, uint16(i+1))))
	}
	plan.IngressListed = true
	b.apply(managed, plan)
	managed.want("", order{Op: "open", Net: "tcp4", To: managed.gw4.String() + ":5001", ID: 1})

	const each, rounds, megabytes = 100, 151, 100
	connect := func(p *proc) float64 {
		a := p.do(order{Op: "connects", To: p.gw4.String() + ":5000", N: each})
		if a.Err != "" {
			tb.Fatalf("connect: %s", a.Err)
		}
		return float64(a.N) / each
	}
	cpu := func() float64 {
		return float64(managed.do(order{Op: "cpu"}).N + b.outside.do(order{Op: "cpu"}).N)
	}
	bulk := func() float64 {
		before := cpu()
		managed.want("", order{Op: "bulk", ID: 1, N: megabytes})
		return (cpu() - before) / megabytes
	}
	var ratios [3][]float64
	var base [3][]float64
	for tb.Loop() {
		for i := range rounds {
			var v [2][3]float64
			for k := range 2 {
				on := (i+k)%2 == 0 // alternate which comes first
				side := 0
				if on {
					b.on(managed)
					side = 1
				} else {
					b.off()
				}
				connect(free) // warm up
				v[side][0] = connect(free)
				v[side][1] = connect(managed)
				if i%8 == 0 {
					v[side][2] = bulk()
				}
			}
			for m := range 3 {
				if v[0][m] > 0 {
					ratios[m] = append(ratios[m], v[1][m]/v[0][m])
					base[m] = append(base[m], v[0][m])
				}
			}
		}
	}
	b.on(managed)
	rows := []row{
		{Name: "connect, unmanaged process", Target: 1.01},
		{Name: "connect, managed and allowed, hook and floor", Target: 1.05},
		{Name: "bulk TCP, managed, CPU of both ends per MB", Target: 1.03},
	}
	for m := range rows {
		r := &rows[m]
		r.Unit, r.Better, r.Value = "ratio to no agent", "lower", median(ratios[m])
		r.OK = r.Value <= r.Target
		tb.ReportMetric(r.Value, []string{"unmanaged-ratio", "managed-ratio", "bulk-ratio"}[m])
		tb.Logf("%-50s %.3f (target %.2f), without: %.0f ns", r.Name, r.Value, r.Target, median(base[m]))
	}
	if out := os.Getenv("GABION_BENCH_OUT"); out != "" {
		data, err := json.MarshalIndent(rows, "", "  ")
		must(tb, err)
		must(tb, os.WriteFile(filepath.Join(out, "connect.json"), append(data, '\n'), 0o644))
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
