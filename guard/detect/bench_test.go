package detect

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkPack is one happening of an ordinary workload through every
// detection.
func BenchmarkPack(b *testing.B) {
	pack, err := Default()
	if err != nil {
		b.Fatal(err)
	}
	workloads := ordinary(b)
	var all []Happening
	for _, name := range slices.Sorted(maps.Keys(workloads)) {
		all = append(all, workloads[name]...)
	}
	e := New(pack)
	b.ReportAllocs()
	i, began := 0, cpu(b)
	for b.Loop() {
		h := all[i%len(all)]
		h.Time = h.Time.Add(time.Duration(i) * time.Millisecond)
		e.Handle(h)
		i++
	}
	// By the processor's time, not the wall's: other work on the machine does not
	// count.
	b.ReportMetric(float64(i)/(cpu(b)-began).Seconds(), "happenings/cpu-s")
}

// BenchmarkMemory is what is remembered of a container that did as much as is
// ever remembered: processes, begun sequences, bursts, matches.
func BenchmarkMemory(b *testing.B) {
	pack, err := Default()
	if err != nil {
		b.Fatal(err)
	}
	workloads := ordinary(b)
	const containers = 200
	for b.Loop() {
		before := heap()
		e := New(pack)
		for c := range containers {
			for _, list := range workloads {
				for _, h := range list {
					h.Container = fmt.Sprint("c", c)
					h.PID += c * 1000
					e.Handle(h)
				}
			}
		}
		b.ReportMetric(float64(heap()-before)/containers, "B/container")
		runtime.KeepAlive(e)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpu is what this process used of the processors so far.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
