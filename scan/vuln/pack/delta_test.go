package pack

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func roundTrip(t rapid.TB, old, new []byte) []byte {
	t.Helper()
	d, err := makeDelta(old, new)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := applyDelta(bytes.NewReader(old), int64(len(old)), d, int64(len(new)), &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), new) {
		t.Fatalf("%d bytes came back, not the %d that went in", got.Len(), len(new))
	}
	return d
}

func TestDelta(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	big := noise(200_000)
	// A table of rising offsets, and the same after 12 bytes were put in front.
	var table, moved []byte
	for i := range 50_000 {
		o := uint32(i) * 37
		table = append(table, byte(o), byte(o>>8), byte(o>>16), byte(o>>24))
		o += 12
		moved = append(moved, byte(o), byte(o>>8), byte(o>>16), byte(o>>24))
	}
	cat := func(p ...[]byte) []byte { return bytes.Join(p, nil) }
	for name, c := range map[string]struct {
		old, new []byte
		max      int // bytes of the delta
	}{
		"both empty":    {nil, nil, 100},
		"from nothing":  {nil, big, 201_000},
		"to nothing":    {big, nil, 100},
		"the same":      {big, big, 300},
		"shorter":       {big, big[:1000], 200},
		"put in front":  {big, cat([]byte("hello"), big), 300},
		"put inside":    {big, cat(big[:777], []byte("hello"), big[777:]), 300},
		"taken out":     {big, cat(big[:777], big[9999:]), 300},
		"swapped":       {big, cat(big[100_000:], big[:100_000]), 300},
		"twice":         {big, cat(big, big), 500},
		"moved offsets": {cat(big[:5000], table), cat(big[:5000], noise(12), moved), 20_000},
		"zeros":         {make([]byte, 100_000), make([]byte, 90_000), 200},
		"tiny":          {[]byte("abc"), []byte("abd"), 100},
	} {
		if d := roundTrip(t, c.old, c.new); len(d) > c.max {
			t.Errorf("%s: delta of %d bytes, want at most %d", name, len(d), c.max)
		}
	}
}

func TestDeltaAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SliceOfN(rapid.Byte(), 0, 60)
		pieces := rapid.SliceOfN(piece, 1, 8).Draw(t, "pieces")
		pick := func(name string) (out []byte) {
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(pieces)-1), 0, 12).Draw(t, name) {
				out = append(out, pieces[i]...)
			}
			return out
		}
		roundTrip(t, pick("old"), pick("new"))
	})
}

func TestDeltaRefused(t *testing.T) {
	old := bytes.Repeat([]byte("0123456789abcdef"), 100)
	d, err := makeDelta(old, append([]byte("new"), old...))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old, delta []byte
		max        int64
	}{
		"no delta": {old, []byte("something else"), 1 << 20}, "cut off": {old, d[:len(d)-1], 1 << 20}, "too long": {old, append(bytes.Clone(d), 0), 1 << 20},
		"bigger than announced": {old, d, 100}, "other file": {old[:50], d, 1 << 20},
	} {
		if err := applyDelta(bytes.NewReader(c.old), int64(len(c.old)), c.delta, c.max, io.Discard); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzApplyDelta(f *testing.F) {
	old := bytes.Repeat([]byte("0123456789abcdef"), 20)
	for _, new := range [][]byte{nil, old, append([]byte("xyz"), old...), old[:33]} {
		d, err := makeDelta(old, new)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, delta []byte) {
		var out bytes.Buffer
		_ = applyDelta(bytes.NewReader(old), int64(len(old)), delta, 10_000, &out)
		if out.Len() > 10_000 {
			t.Errorf("%d bytes written", out.Len())
		}
	})
}

func FuzzOpenEnvelope(f *testing.F) {
	signer, keys := keyPair(f, 1)
	env, err := seal(Statement{Format: 1, Digest: "sha256:00", Size: 1}, signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(env)
	f.Add([]byte(`{"payloadType":"x","payload":"e30=","signatures":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, id, err := open(b, keys, true)
		if err == nil && (!isDigest(s.Digest) || s.Size <= 0) {
			t.Errorf("%+v by %q", s, id)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"artifactType":"` + ArtifactType + `","config":{"digest":"sha256:0","size":1},"layers":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		for _, d := range m.Layers {
			if !isDigest(d.Digest) {
				t.Errorf("digest %q", d.Digest)
			}
		}
	})
}
