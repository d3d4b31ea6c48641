package cli

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	for in, want := range map[string]string{"30d": "30d", "48h": "2d", "90m": "1h30m0s", "0": "0s", "0d": "0s"} {
		var d time.Duration
		v := ageValue{&d}
		if err := v.Set(in); err != nil || v.String() != want {
			t.Errorf("%s gives %s, %v; want %s", in, v, err, want)
		}
	}
	for _, in := range []string{"", "d", "-1d", "-5m", "1.5d", "30", "4000000000d", "110000d", "month"} {
		if err := (ageValue{new(time.Duration)}).Set(in); err == nil {
			t.Errorf("%q was taken as an age", in)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]string{"2GiB": "2GiB", "2147483648": "2GiB", "1536MiB": "1536MiB", "1000": "1000", "0": "0"} {
		var n int64
		v := sizeValue{&n}
		if err := v.Set(in); err != nil || v.String() != want {
			t.Errorf("%s gives %s, %v; want %s", in, v, err, want)
		}
	}
	for _, in := range []string{"", "GiB", "-1", "2GB", "99999999999TiB", "1.5GiB"} {
		if err := (sizeValue{new(int64)}).Set(in); err == nil {
			t.Errorf("%q was taken as a size", in)
		}
	}
}
