package registry

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGlobs(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"team/app", "team/app", true},
		{"team/*", "team/app", true},
		{"team/*", "team/app/x", false},
		{"team/**", "team/app/x", true},
		{"team/**", "team", true},
		{"**/cache", "a/b/cache", true},
		{"**/cache", "cache", true},
		{"**/cache", "a/cachet", false},
		{"a/**/z", "a/b/c/z", true},
		{"a/**/z", "a/z", true},
		{"*", "a/b", false},
		{"**", "a/b", true},
		{"ap?", "app", true},
		{"[a-c]pp", "bpp", true},
		{"", "a", false},
	} {
		if got := (globs{tt.pattern}).match(tt.name); got != tt.want {
			t.Errorf("%q %q: %v", tt.pattern, tt.name, got)
		}
	}
	for _, bad := range []string{"[a", "a/[", "**/**/**/**/**"} {
		if (globs{bad}).check() == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if !chosen("a", nil, nil) || chosen("a", nil, globs{"a"}) || chosen("b", globs{"a"}, nil) || chosen("a", globs{"a"}, globs{"*"}) {
		t.Error("include and exclude")
	}
}

func TestTags(t *testing.T) {
	sig := "sha256-" + strings.Repeat("a", 64)
	for _, tt := range []struct {
		name string
		f    TagFilter
		in   string
		want string
	}{
		{"newest first", TagFilter{}, "1.2 1.10 1.9.3 v1.9.10 1.10-rc1", "1.10 1.10-rc1 v1.9.10 1.9.3 1.2"},
		{"names are above numbers", TagFilter{}, "2 latest 10 main", "main latest 10 2"},
		{"a pre-release is older than what follows", TagFilter{}, "1.2-rc1 1.2 1.2.1 1.2-rc2", "1.2.1 1.2 1.2-rc2 1.2-rc1"},
		{"companions are no images", TagFilter{}, "1 " + sig + " " + sig + ".sig " + sig + ".att", "1"},
		{"newest", TagFilter{Newest: 2}, "1 2 3", "3 2"},
		{"newest by date is chosen later", TagFilter{Newest: 2, Order: orderCreated}, "1 2 3", "3 2 1"},
		{"patterns", TagFilter{Include: []string{"v*"}, Exclude: []string{"*-dev"}}, "v1 v2-dev 3", "v1"},
		{"leading zeros", TagFilter{}, "007 8 06", "8 007 06"},
		{"long numbers", TagFilter{}, "99999999999999999999 100000000000000000000", "100000000000000000000 99999999999999999999"},
		{"doubles", TagFilter{}, "1 1", "1"},
	} {
		if got := strings.Join(tt.f.filter(strings.Fields(tt.in)), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestCompareTagsIsAnOrder checks what sorting relies on.
func TestCompareTagsIsAnOrder(t *testing.T) {
	tags := strings.Fields("1 01 1.0 1-0 1-rc 1.2 v1 v1.2 latest main 1a a1 - 1- 1.2-rc1 1.2.1 10 2 1.2a")
	for _, a := range tags {
		for _, b := range tags {
			if compareTags(a, b) != -compareTags(b, a) || (compareTags(a, b) == 0) != (a == b) {
				t.Errorf("%s %s: %d and %d", a, b, compareTags(a, b), compareTags(b, a))
			}
			for _, c := range tags {
				if compareTags(a, b) < 0 && compareTags(b, c) < 0 && compareTags(a, c) >= 0 {
					t.Errorf("%s < %s < %s but not %s < %s", a, b, c, a, c)
				}
			}
		}
	}
}

func TestSchedule(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.FixedZone("none", 3600)
	}
	for _, tt := range []struct{ text, now, want string }{
		{"0 3 * * *", "2026-03-01T02:59:30Z", "2026-03-01T03:00:00Z"},
		{"0 3 * * *", "2026-03-01T03:00:00Z", "2026-03-02T03:00:00Z"},
		{"*/15 * * * *", "2026-03-01T03:14:59Z", "2026-03-01T03:15:00Z"},
		{"5-10/5,50 * * * *", "2026-03-01T03:10:00Z", "2026-03-01T03:50:00Z"},
		{"10/20 * * * *", "2026-03-01T03:31:00Z", "2026-03-01T03:50:00Z"},
		{"0 0 31 * *", "2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 * * 7", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"},
		{"0 0 13 * 5", "2026-03-02T00:00:00Z", "2026-03-06T00:00:00Z"},
		{"0 0 * * 1-5", "2026-03-06T00:00:00Z", "2026-03-09T00:00:00Z"},
		{"59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"},
		{"@daily", "2026-12-31T23:59:00Z", "2027-01-01T00:00:00Z"},
		{"@hourly", "2026-12-31T23:59:00Z", "2027-01-01T00:00:00Z"},
		{"@weekly", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"},
		{"@monthly", "2026-03-02T00:00:00Z", "2026-04-01T00:00:00Z"},
		{"@every 6h", "2026-03-02T01:02:03Z", "2026-03-02T07:02:03Z"},
	} {
		s, err := ParseSchedule(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(now).Format(time.RFC3339); got != tt.want {
			t.Errorf("%s after %s: %s, want %s", tt.text, tt.now, got, tt.want)
		}
	}
	// 02:30 does not exist on that day: the clock goes from 2 to 3.
	s, err := ParseSchedule("30 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 28, 3, 0, 0, 0, berlin)
	if got := s.Next(now); !got.After(now) || got.Sub(now) > 48*time.Hour {
		t.Errorf("across the change of clocks: %s", got)
	}
	for _, bad := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
		"*/0 * * * *", "a * * * *", "1,,2 * * * *", "-1 * * * *", "0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6 *", "@every 1ms", "@every x", "@never", "+1 * * * *",
	} {
		if _, err := ParseSchedule(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"0 3 * * *", "*/5 1-3,7 * * 1-5", "@every 90s", "@daily", "0 0 29 2 *", "0 0 31 2 1"} {
		f.Add(s, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := ParseSchedule(text)
		if err != nil {
			return
		}
		now := time.Unix(unix&(1<<33-1), 0).UTC()
		next := s.Next(now)
		if !next.After(now) {
			t.Fatalf("%q after %s: %s", text, now, next)
		}
		if s.every == 0 && (next.Second() != 0 || s.minutes>>next.Minute()&1 == 0 || s.hours>>next.Hour()&1 == 0 || s.months>>int(next.Month())&1 == 0) {
			t.Fatalf("%q after %s: %s does not fit", text, now, next)
		}
	})
}

func TestNextIsTheFirst(t *testing.T) {
	for _, text := range []string{"7 */5 * * 2", "0 0 1,15 * 3", "*/7 3 30 * *"} {
		s, err := ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 2, 27, 22, 13, 0, 0, time.UTC)
		want := now.Add(time.Minute)
		for !(slices.Contains(bitsOf(s.minutes), want.Minute()) && slices.Contains(bitsOf(s.hours), want.Hour()) && slices.Contains(bitsOf(s.months), int(want.Month())) && s.day(want)) {
			want = want.Add(time.Minute)
		}
		if got := s.Next(now); !got.Equal(want) {
			t.Errorf("%s: %s, by counting minutes %s", text, got, want)
		}
	}
}

func bitsOf(set uint64) []int {
	var out []int
	for i := range 64 {
		if set>>i&1 == 1 {
			out = append(out, i)
		}
	}
	return out
}
