package gunzip_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	kgzip "github.com/klauspost/compress/gzip"

	"github.com/gabion-dev/gabion/scan/walk/gunzip"
)

func pack(t testing.TB, level int, parts ...[]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	for _, p := range parts {
		if err == nil {
			_, err = w.Write(p)
		}
		if err == nil && len(parts) > 1 {
			err = w.Flush()
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// contents are of the kinds that blocks are made for.
func contents() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var text, skewed bytes.Buffer
	for i := range 40_000 {
		fmt.Fprintf(&text, "line %d of %x\n", i, r.IntN(1<<(i%20)))
		// Frequencies that halve make codes of every length.
		for b := 0; b < 40; b++ {
			if r.IntN(1<<min(b/2, 20)) == 0 {
				skewed.WriteByte(byte(b * 6))
			}
		}
	}
	far := append(bytes.Clone(noise[:32768]), noise[:32768]...)
	return map[string][]byte{
		"nothing": nil, "one": []byte("x"), "zeros": make([]byte, 1<<20), "noise": noise, "text": text.Bytes(), "skewed": skewed.Bytes(), "far": far,
		"pairs": bytes.Repeat([]byte("ab"), 100_000), "sevens": bytes.Repeat([]byte("abcdefg"), 50_000), "runs": []byte(strings.Repeat(strings.Repeat("a", 300)+"b", 500)),
	}
}

func TestReader(t *testing.T) {
	for name, want := range contents() {
		for level := -2; level <= 9; level++ {
			packed := pack(t, level, want)
			for how, src := range map[string]io.Reader{
				"whole": bytes.NewReader(packed), "halves": iotest.HalfReader(bytes.NewReader(packed)), "with the end": iotest.DataErrReader(bytes.NewReader(packed)),
			} {
				got, err := io.ReadAll(gunzip.NewReader(src))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, level %d, %s: %d bytes of %d, %v", name, level, how, len(got), len(want), err)
				}
			}
		}
		half := len(want) / 2
		got, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(append(pack(t, 6, want[:half], want[half:]), pack(t, 1, want)...))))
		if err != nil || !bytes.Equal(got, append(bytes.Clone(want), want...)) {
			t.Errorf("%s, two members: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestSmallReads: neither one byte in nor one byte out changes anything.
func TestSmallReads(t *testing.T) {
	want := contents()["skewed"]
	got, err := io.ReadAll(iotest.OneByteReader(gunzip.NewReader(iotest.OneByteReader(bytes.NewReader(pack(t, 6, want))))))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	r := gunzip.NewReader(bytes.NewReader(pack(t, 6, want)))
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: %d %v", n, err)
	}
}

func TestHeaders(t *testing.T) {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Name, w.Comment, w.Extra = strings.Repeat("name", 1000), "comment", bytes.Repeat([]byte("e"), 40_000)
	if _, err := w.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(gunzip.NewReader(&buf)); err != nil || string(got) != "content" {
		t.Errorf("%q %v", got, err)
	}
	// The checksum of the header: flags 2, made with zlib.
	sealed := pack(t, 6, []byte("x"))
	sealed[3] |= 2
	crc := append(bytes.Clone(sealed[:10]), headerSum(sealed[:10])...)
	if got, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(append(crc, sealed[10:]...)))); err != nil || string(got) != "x" {
		t.Errorf("with a checksum: %q %v", got, err)
	}
	crc[10] ^= 1
	if _, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(append(crc, sealed[10:]...)))); !errors.Is(err, gunzip.ErrCorrupt) {
		t.Errorf("with a wrong checksum: %v", err)
	}
	endless := append([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff"), bytes.Repeat([]byte("n"), 2<<20)...)
	if _, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(endless))); !errors.Is(err, gunzip.ErrCorrupt) {
		t.Errorf("a name without end: %v", err)
	}
}

func headerSum(h []byte) []byte {
	c := ^uint32(0)
	for _, b := range h {
		c ^= uint32(b)
		for range 8 {
			c = c>>1 ^ 0xedb88320&-(c&1)
		}
	}
	c = ^c
	return []byte{byte(c), byte(c >> 8)}
}

// TestCut: a stream that ends anywhere is told from one that ends.
func TestCut(t *testing.T) {
	for name, level := range map[string]int{"stored": 0, "fixed and dynamic": 6, "codes only": gzip.HuffmanOnly} {
		want := contents()["skewed"][:5000]
		packed := pack(t, level, want)
		for n := range packed {
			got, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(packed[:n])))
			if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(want, got) {
				t.Fatalf("%s, cut at %d of %d: %d bytes, %v", name, n, len(packed), len(got), err)
			}
		}
	}
}

func TestTrailing(t *testing.T) {
	packed := pack(t, 6, []byte("content"))
	for _, n := range []int{0, 1, 7, 100_000} {
		r := gunzip.NewReader(bytes.NewReader(append(bytes.Clone(packed), bytes.Repeat([]byte("t"), n)...)))
		got, err := io.ReadAll(r)
		if err != nil || string(got) != "content" || r.Trailing() != int64(n) {
			t.Errorf("%d behind: %q %v %d", n, got, err, r.Trailing())
		}
	}
}

func TestSourceError(t *testing.T) {
	mine := errors.New("mine")
	packed := pack(t, 6, contents()["noise"])
	for _, n := range []int{0, 5, 50, 100_000, len(packed) - 4} {
		_, err := io.ReadAll(gunzip.NewReader(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(mine))))
		if !errors.Is(err, mine) {
			t.Errorf("behind %d bytes: %v", n, err)
		}
	}
	if _, err := io.ReadAll(gunzip.NewReader(stuck{})); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestWrong: streams that break a rule of RFC 1951, each by its blocks alone.
func TestWrong(t *testing.T) {
	for word, block := range map[string]string{
		"type of a block":               "07",
		"length of a stored block":      "010100ffff",
		"distance beyond the beginning": "4b04120300", // a literal, then a match before it
		"symbol":                        "1b0300",     // 286 of the fixed codes
		"code of code lengths":          "05e0ffff0f0000000000",
		"number of codes":               "fdff0000000000000000",
		"repeated code length":          "05000224", // and nothing to repeat
	} {
		b, err := hex.DecodeString(block)
		if err != nil {
			t.Fatal(err)
		}
		packed := append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), append(b, make([]byte, 64)...)...)
		_, std := gzipAll(packed)
		got, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(packed)))
		if !errors.Is(err, gunzip.ErrCorrupt) || !strings.HasSuffix(err.Error(), ": "+word) || std == nil {
			t.Errorf("%s: %q, %v (the standard library: %v)", word, got, err, std)
		}
	}
	packed := pack(t, 6, []byte("some content"))
	for _, at := range []int{0, 1, 2, len(packed) - 1, len(packed) - 5} {
		wrong := bytes.Clone(packed)
		wrong[at] ^= 0x80
		if _, err := io.ReadAll(gunzip.NewReader(bytes.NewReader(wrong))); !errors.Is(err, gunzip.ErrCorrupt) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

func gzipAll(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 8<<20))
}

// agree reports whether two readers that stop at an error saw the same until
// the first of them did: how much of a block is shown before its error differs.
func agree(a, b []byte) bool { return bytes.HasPrefix(a, b) || bytes.HasPrefix(b, a) }

// FuzzReader: what the standard library unpacks, this unpacks to the same; what
// it refuses, this refuses, but for bytes behind the last member.
func FuzzReader(f *testing.F) {
	for _, c := range contents() {
		for _, level := range []int{-2, 0, 1, 9} {
			f.Add(pack(f, level, c[:min(len(c), 2000)]), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, chunk uint16) {
		want, stdErr := gzipAll(b)
		r := gunzip.NewReader(&pieces{b, int(chunk)%512 + 1})
		got, err := io.ReadAll(io.LimitReader(r, 8<<20))
		switch {
		case stdErr == nil:
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, the standard library %d: %v", len(got), len(want), err)
			}
		case err == nil:
			if r.Trailing() == 0 || !bytes.Equal(got, want) {
				t.Fatalf("accepted what the standard library refuses: %v", stdErr)
			}
		case !agree(got, want):
			t.Fatalf("shows %d bytes that differ from the standard library's %d", len(got), len(want))
		}
	})
}

// FuzzDeflate is FuzzReader for blocks: it adds header and trailer itself, so
// that the fuzzer gets past them.
func FuzzDeflate(f *testing.F) {
	for _, c := range contents() {
		for _, level := range []int{-2, 0, 1, 9} {
			p := pack(f, level, c[:min(len(c), 3000)])
			f.Add(p[10 : len(p)-8])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		packed := append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), b...)
		want, stdErr := gzipAll(packed)
		got, err := io.ReadAll(io.LimitReader(gunzip.NewReader(bytes.NewReader(packed)), 8<<20))
		if errors.Is(stdErr, gzip.ErrChecksum) != strings.Contains(fmt.Sprint(err), "corrupt gzip data: checksum") {
			t.Fatalf("the standard library says %v, this %v", stdErr, err)
		}
		if !agree(got, want) {
			t.Fatalf("shows %d bytes that differ from the standard library's %d", len(got), len(want))
		}
		if errors.Is(stdErr, gzip.ErrChecksum) && len(got) != len(want) {
			t.Fatalf("unpacks %d bytes, the standard library %d", len(got), len(want))
		}
	})
}

// pieces gives n bytes at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// BenchmarkReader unpacks the same stream with three readers in one run.
// GABION_BENCH_LAYER names a real one.
func BenchmarkReader(b *testing.B) {
	var packed []byte
	if p := os.Getenv("GABION_BENCH_LAYER"); p != "" {
		var err error
		if packed, err = os.ReadFile(p); err != nil {
			b.Fatal(err)
		}
	} else {
		packed = pack(b, 6, bytes.Repeat(contents()["text"], 10))
	}
	for _, c := range []struct {
		name string
		open func() (io.Reader, error)
	}{
		{"this", func() (io.Reader, error) { return gunzip.NewReader(bytes.NewReader(packed)), nil }},
		{"klauspost", func() (io.Reader, error) { return kgzip.NewReader(bytes.NewReader(packed)) }},
		{"compress-gzip", func() (io.Reader, error) { return gzip.NewReader(bytes.NewReader(packed)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 128<<10)
			for b.Loop() {
				r, err := c.open()
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}
