package lean

import (
	"reflect"
	"strings"
	"testing"
)

const sample = `00400000-00500000 r-xp 00000000 fe:00 12 /usr/bin/gabion
Rss:                 900 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 fe:00 12 /usr/bin/gabion
Anonymous:             4 kB
00600000-00700000 r--p 00200000 fe:00 12 /usr/bin/gabion
Anonymous:             0 kB
00700000-00800000 rw-p 00300000 fe:00 12 /usr/bin/gabion
Anonymous:             0 kB
00800000-00900000 r--s 00300000 fe:00 12 /usr/bin/gabion
Anonymous:             0 kB
00900000-00a00000 r--p 00000000 fe:00 13 /usr/bin/gabion-other
Anonymous:             0 kB
00a00000-00b00000 r--p 00000000 00:00 0
Anonymous:             0 kB
00b00000-00c00000 r--p 00300000 fe:00 12 /usr/bin/gabion
Rss:                   0 kB
`

func TestUnchanged(t *testing.T) {
	got, err := unchanged(strings.NewReader(sample), "/usr/bin/gabion")
	want := []span{{0x400000, 0x500000}, {0x600000, 0x700000}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
	for _, bad := range []string{"x-00500000 r-xp 0 fe:00 12 /a", "00400000-y r-xp 0 fe:00 12 /a"} {
		if _, err := unchanged(strings.NewReader(bad), "/a"); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func FuzzUnchanged(f *testing.F) {
	f.Add(sample, "/usr/bin/gabion")
	f.Fuzz(func(t *testing.T, text, file string) {
		spans, _ := unchanged(strings.NewReader(text), file)
		for _, s := range spans {
			if s.from >= s.to {
				t.Errorf("%x", s)
			}
		}
	})
}
