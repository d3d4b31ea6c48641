package v1alpha1

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// checkSchedule says what is wrong with a schedule, "" when nothing is. What it
// means is for those who keep to it.
func checkSchedule(s string) string {
	switch s {
	case "@hourly", "@daily", "@weekly", "@monthly":
		return ""
	}
	if every, ok := strings.CutPrefix(s, "@every "); ok {
		d, err := time.ParseDuration(every)
		if err != nil || d < time.Minute || d > 366*24*time.Hour {
			return "wants a duration from a minute to a year"
		}
		return ""
	}
	fields := strings.Fields(s)
	if len(fields) != 5 || len(s) > 256 {
		return "wants five fields: minute, hour, day of month, month, day of week"
	}
	for i, b := range []struct {
		name   string
		lo, hi int
	}{{"minute", 0, 59}, {"hour", 0, 23}, {"day of month", 1, 31}, {"month", 1, 12}, {"day of week", 0, 7}} {
		for item := range strings.SplitSeq(fields[i], ",") {
			if why := checkItem(item, b.lo, b.hi); why != "" {
				return b.name + " " + why
			}
		}
	}
	return ""
}

// checkItem checks "*", "3", "1-5" and each of them with "/2" behind it.
func checkItem(item string, lo, hi int) string {
	span, step, stepped := strings.Cut(item, "/")
	if stepped {
		if n, ok := decimal(step); !ok || n < 1 || n > hi {
			return fmt.Sprintf("has a step %q that is not from 1 to %d", clip(step), hi)
		}
	}
	if span == "*" {
		return ""
	}
	first, last, ranged := strings.Cut(span, "-")
	a, ok := decimal(first)
	if !ok || a < lo || a > hi {
		return fmt.Sprintf("%q is not from %d to %d", clip(first), lo, hi)
	}
	if stepped && !ranged {
		return fmt.Sprintf("has a step on the single value %q", clip(first))
	}
	if ranged {
		b, ok := decimal(last)
		if !ok || b < lo || b > hi {
			return fmt.Sprintf("%q is not from %d to %d", clip(last), lo, hi)
		}
		if b < a {
			return fmt.Sprintf("range %q ends before it starts", clip(span))
		}
	}
	return ""
}

func decimal(s string) (int, bool) {
	if s == "" || len(s) > 3 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
