package registry

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Schedule says when a target is swept.
type Schedule struct {
	every                              time.Duration
	minutes, hours, days, months, week uint64
	anyDay, anyWeek                    bool
}

var named = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
	"@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// ParseSchedule reads "@every 6h", "@daily" and the like, or the five fields of
// cron: minute, hour, day of month, month, day of week (0 and 7 are Sunday),
// each "*", a number, "a-b", a list of these, with "/n" for every nth.
func ParseSchedule(text string) (Schedule, error) {
	text = strings.TrimSpace(text)
	if d, ok := strings.CutPrefix(text, "@every "); ok {
		every, err := time.ParseDuration(strings.TrimSpace(d))
		if err != nil {
			return Schedule{}, fmt.Errorf("read schedule %q: %w", text, err)
		}
		if every < time.Second {
			return Schedule{}, fmt.Errorf("read schedule %q: less than a second", text)
		}
		return Schedule{every: every}, nil
	}
	fields := strings.Fields(text)
	if full, ok := named[text]; ok {
		fields = strings.Fields(full)
	}
	if len(fields) != 5 {
		return Schedule{}, fmt.Errorf("read schedule %q: want five fields, \"@daily\" or \"@every 6h\"", text)
	}
	var s Schedule
	for i, f := range []struct {
		set      *uint64
		low, top int
		name     string
	}{
		{&s.minutes, 0, 59, "minute"}, {&s.hours, 0, 23, "hour"}, {&s.days, 1, 31, "day of month"},
		{&s.months, 1, 12, "month"}, {&s.week, 0, 7, "day of week"},
	} {
		set, err := parseField(fields[i], f.low, f.top)
		if err != nil {
			return Schedule{}, fmt.Errorf("read schedule %q: %s %q: %w", text, f.name, fields[i], err)
		}
		*f.set = set
	}
	s.week |= s.week >> 7 & 1
	s.anyDay, s.anyWeek = strings.HasPrefix(fields[2], "*"), strings.HasPrefix(fields[4], "*")
	if s.anyWeek && !s.possible() {
		return Schedule{}, fmt.Errorf("read schedule %q: there is no such day", text)
	}
	return s, nil
}

// possible reports whether some month has one of the days.
func (s Schedule) possible() bool {
	longest := [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	for m := 1; m <= 12; m++ {
		if s.months>>m&1 == 1 && bits.TrailingZeros64(s.days) <= longest[m] {
			return true
		}
	}
	return false
}

func parseField(text string, low, top int) (uint64, error) {
	var set uint64
	for part := range strings.SplitSeq(text, ",") {
		span, step := part, 1
		if before, after, ok := strings.Cut(part, "/"); ok {
			n, err := number(after, 1, top)
			if err != nil {
				return 0, err
			}
			span, step = before, n
		}
		from, to := low, top
		if span != "*" {
			a, b, ranged := strings.Cut(span, "-")
			var err error
			if from, err = number(a, low, top); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if to, err = number(b, from, top); err != nil {
					return 0, err
				}
			case step == 1:
				to = from
			}
		}
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}

func number(text string, low, top int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(n) < low || int(n) > top {
		return 0, fmt.Errorf("want a number from %d to %d, not %q", low, top, text)
	}
	return int(n), nil
}

// Next is the first moment after now, in now's zone. As cron does, a day is
// chosen when either the day of month or the day of week fits, if both are
// given. A time that the clock skips in spring is run at the next that exists.
func (s Schedule) Next(now time.Time) time.Time {
	if s.every > 0 {
		return now.Add(s.every)
	}
	t := now.Truncate(time.Minute).Add(time.Minute)
	// Leap days on a certain weekday are the rarest: 28 years, 40 across 1900.
	for end := now.AddDate(41, 0, 0); t.Before(end); {
		y, m, d := t.Date()
		switch {
		case s.months>>int(m)&1 == 0:
			t = time.Date(y, m+1, 1, 0, 0, 0, 0, t.Location())
		case !s.day(t):
			t = later(t, time.Date(y, m, d+1, 0, 0, 0, 0, t.Location()))
		case s.hours>>t.Hour()&1 == 0:
			t = t.Add(time.Duration(60-t.Minute()) * time.Minute)
		case s.minutes>>t.Minute()&1 == 0:
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

// later guards against midnights that do not exist in some zones.
func later(t, next time.Time) time.Time {
	if next.After(t) {
		return next
	}
	return t.Add(time.Hour)
}

func (s Schedule) day(t time.Time) bool {
	day, week := s.days>>t.Day()&1 == 1, s.week>>int(t.Weekday())&1 == 1
	if s.anyDay || s.anyWeek {
		return day && week
	}
	return day || week
}
