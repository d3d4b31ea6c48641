package store

import (
	"errors"
	"testing"
)

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add(cursor{last: 5, seq: 7}.String())
	f.Add(cursor{bySeq: true, seq: 1<<64 - 1}.String())
	f.Add("dAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		for _, bySeq := range []bool{true, false} {
			c, err := parseCursor(s, bySeq)
			if err != nil {
				if !errors.Is(err, ErrCursor) {
					t.Fatalf("untyped error %v", err)
				}
				continue
			}
			if c.String() != s || c.bySeq != bySeq {
				t.Fatalf("%q became %q", s, c.String())
			}
		}
	})
}
