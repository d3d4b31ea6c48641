package decide

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/scan"
)

var dataDate = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func yes(b bool) *bool { return &b }

func TestPriorityTable(t *testing.T) {
	everything := scan.Finding{
		Advisory: scan.Advisory{
			ID: "CVE-2021-44228", Severity: scan.Critical, Score: 10, Published: time.Date(2021, 12, 10, 0, 0, 0, 0, time.UTC),
			KEV:  &scan.KEV{Added: time.Date(2021, 12, 10, 0, 0, 0, 0, time.UTC), Ransomware: true},
			EPSS: &scan.EPSS{Score: 0.94}, SSVC: &scan.SSVC{Exploitation: "active", Automatable: "yes", Impact: "total"},
		},
		Fix: "2.17.1", State: scan.Open, Used: yes(true), Exposed: yes(true),
	}
	nobody := everything
	nobody.Used, nobody.Exposed = nil, nil
	for _, tt := range []struct {
		name    string
		f       scan.Finding
		want    int
		reasons string
	}{
		{"everything", everything, 100, "critical, CVSS 10.0; known to be exploited since 2021-12-10, by ransomware (CISA KEV); active exploitation (SSVC); 94% likely to be exploited within 30 days (EPSS); attack can be automated; total impact; fixed in 2.17.1, known since 2021-12-10; not from the base image; used at run time; reached from outside on tcp/8080"},
		{"before anyone looked", nobody, 80, ""},
		{"high alone", scan.Finding{Advisory: scan.Advisory{Severity: scan.High}, Base: true}, 26, "high; comes with the base image"},
		{"unknown without score", scan.Finding{Base: true}, 14, "severity unknown; comes with the base image"},
		{"unknown with score", scan.Finding{Advisory: scan.Advisory{Score: 7.5}, Base: true}, 29, "severity unknown, CVSS 7.5; comes with the base image"},
		{"negligible with a high score", scan.Finding{Advisory: scan.Advisory{Severity: scan.Negligible, Score: 9.8}, Base: true}, 5, ""},
		{"fresh fix", scan.Finding{Advisory: scan.Advisory{Severity: scan.Low, Published: dataDate.Add(-29 * 24 * time.Hour)}, Fix: "2", Base: true}, 13, "low; fixed in 2; comes with the base image"},
		{"due fix", scan.Finding{Advisory: scan.Advisory{Severity: scan.Low, Published: dataDate.Add(-30 * 24 * time.Hour)}, Fix: "2", Base: true}, 15, ""},
		{"never below zero", scan.Finding{Advisory: scan.Advisory{Severity: scan.Negligible}, Used: yes(false), Exposed: yes(false), Base: true}, 0, "negligible; comes with the base image; not seen running; not reached from outside"},
		{"poc", scan.Finding{Advisory: scan.Advisory{Severity: scan.Medium, SSVC: &scan.SSVC{Exploitation: "poc"}}, Base: true}, 21, ""},
		{"epss", scan.Finding{Advisory: scan.Advisory{Severity: scan.Medium, EPSS: &scan.EPSS{Score: 0.25}}, Base: true}, 26, ""},
		{"tiny epss", scan.Finding{Advisory: scan.Advisory{Severity: scan.Medium, EPSS: &scan.EPSS{Score: 0.0004}}, Base: true}, 16, "medium; under 1% likely to be exploited within 30 days (EPSS); comes with the base image"},
		{"will not fix", scan.Finding{Advisory: scan.Advisory{Severity: scan.Medium}, State: scan.Unsupported, Base: true}, 16, "medium; the distributor will not fix it; comes with the base image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prioritize(&tt.f, dataDate, true, []string{"tcp/8080"}, "")
			if tt.f.Priority != tt.want {
				t.Errorf("priority %d, want %d: %q", tt.f.Priority, tt.want, tt.f.Reasons)
			}
			if got := strings.Join(tt.f.Reasons, "; "); tt.reasons != "" {
				if diff := cmp.Diff(tt.reasons, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// draw makes any finding, the odd ones too.
func draw(t *rapid.T) scan.Finding {
	maybe := rapid.SampledFrom([]*bool{nil, yes(false), yes(true)})
	f := scan.Finding{
		Advisory: scan.Advisory{
			Severity: scan.Severity(rapid.IntRange(-1, 6).Draw(t, "severity")),
			Score:    rapid.SampledFrom([]float64{0, 0.1, 3.9, 4, 7, 8.9, 9, 10, -1, 99}).Draw(t, "score"),
		},
		State: rapid.SampledFrom([]scan.State{scan.Open, scan.Unsupported}).Draw(t, "state"),
		Fix:   rapid.SampledFrom([]string{"", "1.2"}).Draw(t, "fix"),
		Base:  rapid.Bool().Draw(t, "base"),
		Used:  maybe.Draw(t, "used"), Exposed: maybe.Draw(t, "exposed"),
	}
	if rapid.Bool().Draw(t, "published?") {
		f.Published = dataDate.Add(-time.Duration(rapid.IntRange(-100, 1000).Draw(t, "age")) * 24 * time.Hour)
	}
	if rapid.Bool().Draw(t, "kev?") {
		f.KEV = &scan.KEV{Ransomware: rapid.Bool().Draw(t, "ransomware")}
	}
	if rapid.Bool().Draw(t, "epss?") {
		f.EPSS = &scan.EPSS{Score: rapid.Float64Range(-0.1, 1.1).Draw(t, "epss")}
	}
	if rapid.Bool().Draw(t, "ssvc?") {
		f.SSVC = &scan.SSVC{
			Exploitation: rapid.SampledFrom([]string{"", "none", "poc", "active", "ACTIVE", "?"}).Draw(t, "exploitation"),
			Automatable:  rapid.SampledFrom([]string{"", "no", "yes"}).Draw(t, "automatable"),
			Impact:       rapid.SampledFrom([]string{"", "partial", "total"}).Draw(t, "impact"),
		}
	}
	return f
}

// TestPriorityIsMonotone: no fact that makes things worse ever lowers the
// priority, whatever else is known.
func TestPriorityIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.Bool().Draw(t, "base known")
		of := func(f scan.Finding) int {
			prioritize(&f, dataDate, known, nil, "")
			if f.Priority < 0 || f.Priority > 100 || len(f.Reasons) == 0 {
				t.Fatalf("priority %d of %+v", f.Priority, f)
			}
			again := f
			prioritize(&again, dataDate, known, nil, "")
			if again.Priority != f.Priority || !cmp.Equal(again.Reasons, f.Reasons) {
				t.Fatalf("it is not the same twice: %+v", f)
			}
			return f.Priority
		}
		f := draw(t)
		base := of(f)
		for name, worse := range map[string]func(*scan.Finding) bool{
			"severity": func(f *scan.Finding) bool {
				f.Severity++
				return f.Severity > scan.Negligible && f.Severity <= scan.Critical
			},
			"score": func(f *scan.Finding) bool {
				f.Score += 0.5
				return f.Severity > scan.Unknown && f.Severity <= scan.Critical || f.Score > 0.5
			},
			"kev":          func(f *scan.Finding) bool { was := f.KEV; f.KEV = &scan.KEV{}; return was == nil },
			"ransomware":   func(f *scan.Finding) bool { f.KEV = &scan.KEV{Ransomware: true}; return true },
			"kev and used": func(f *scan.Finding) bool { f.KEV, f.Used = &scan.KEV{Ransomware: true}, yes(true); return true },
			"epss": func(f *scan.Finding) bool {
				e := scan.EPSS{Score: 0.05}
				if f.EPSS != nil {
					e.Score += f.EPSS.Score
				}
				f.EPSS = &e
				return true
			},
			"active": func(f *scan.Finding) bool {
				s := scan.SSVC{Exploitation: "active"}
				if f.SSVC != nil {
					s.Automatable, s.Impact = f.SSVC.Automatable, f.SSVC.Impact
				}
				f.SSVC = &s
				return true
			},
			"automatable": func(f *scan.Finding) bool {
				s := scan.SSVC{Automatable: "yes"}
				if f.SSVC != nil {
					s.Exploitation, s.Impact = f.SSVC.Exploitation, f.SSVC.Impact
				}
				f.SSVC = &s
				return true
			},
			"fix": func(f *scan.Finding) bool { f.Fix = "9"; return true },
			"age": func(f *scan.Finding) bool {
				f.Published = f.Published.Add(-40 * 24 * time.Hour)
				return !f.Published.IsZero() && f.Published.Year() > 2000
			},
			"own":     func(f *scan.Finding) bool { f.Base = false; return true },
			"used":    func(f *scan.Finding) bool { f.Used = yes(true); return true },
			"exposed": func(f *scan.Finding) bool { f.Exposed = yes(true); return true },
			"watched less": func(f *scan.Finding) bool {
				was := f.Used
				f.Used = nil
				return was == nil || !*was
			},
		} {
			g := f
			if worse(&g) && of(g) < base {
				t.Fatalf("%s lowers it from %d to %d: %+v", name, base, of(g), f)
			}
		}
	})
}

func TestSettledHasNoPriority(t *testing.T) {
	for _, s := range []scan.State{scan.Ignored, scan.NotAffected, scan.Fixed} {
		f := scan.Finding{Advisory: scan.Advisory{Severity: scan.Critical, KEV: &scan.KEV{}}, State: s}
		prioritize(&f, dataDate, true, nil, "")
		if f.Priority != 0 || len(f.Reasons) != 1 || f.Reasons[0] != string(s) {
			t.Errorf("%s: %d %q", s, f.Priority, f.Reasons)
		}
	}
}
