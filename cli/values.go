package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ageValue is a duration on the command line that may be in days: 30d, 12h.
type ageValue struct{ d *time.Duration }

const day = 24 * time.Hour

func (v ageValue) Type() string { return "age" }

func (v ageValue) String() string {
	switch {
	case v.d == nil:
		return ""
	case *v.d >= day && *v.d%day == 0:
		return strconv.FormatInt(int64(*v.d/day), 10) + "d"
	}
	return v.d.String()
}

func (v ageValue) Set(s string) error {
	d, err := parseAge(s)
	if err != nil {
		return err
	}
	*v.d = d
	return nil
}

func parseAge(s string) (time.Duration, error) {
	wrong := errors.New("write an age such as 90m, 12h or 30d")
	var d time.Duration
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 32)
		if err != nil || days > uint64(math.MaxInt64/day) {
			return 0, wrong
		}
		d = time.Duration(days) * day
	} else {
		var err error
		if d, err = time.ParseDuration(s); err != nil || d < 0 {
			return 0, wrong
		}
	}
	return d, nil
}

// sizeValue is a number of bytes on the command line: 500MiB, 2GiB, 1000000.
type sizeValue struct{ n *int64 }

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func (v sizeValue) Type() string { return "size" }

func (v sizeValue) String() string {
	if v.n == nil {
		return ""
	}
	for _, u := range sizeUnits {
		if *v.n > 0 && *v.n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", *v.n/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(*v.n, 10)
}

func (v sizeValue) Set(s string) error {
	unit := int64(1)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return errors.New("write a number of bytes such as 500MiB or 2GiB")
	}
	*v.n = n * unit
	return nil
}
