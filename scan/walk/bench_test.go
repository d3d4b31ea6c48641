package walk_test

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/gabion-dev/gabion/scan/walk"
)

// BenchmarkLayer walks a gzip layer with both digests, and does the same with
// the standard library in a straight line, in one run. GABION_BENCH_LAYER names
// a real layer (tar.gz) instead of the made-up one.
func BenchmarkLayer(b *testing.B) {
	blob := benchLayer(b)
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			res, err := walk.Layer(context.Background(), bytes.NewReader(blob), walk.Want{}, walk.DefaultLimits(),
				walk.VisitorFunc(func(*walk.Entry, io.Reader) error { return nil }))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(res.Bytes)
		}
	})
	b.Run("archive-tar", func(b *testing.B) {
		for b.Loop() {
			n, err := straight(blob)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(n)
		}
	})
}

// straight is the plainest way to read a layer: compress/gzip, archive/tar,
// both digests.
func straight(blob []byte) (int64, error) {
	packed, unpacked := sha256.New(), sha256.New()
	in := io.TeeReader(bytes.NewReader(blob), packed)
	zr, err := stdgzip.NewReader(in)
	if err != nil {
		return 0, err
	}
	count := &counter{}
	out := io.TeeReader(zr, io.MultiWriter(unpacked, count))
	tr := tar.NewReader(out)
	for {
		if _, err := tr.Next(); err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, in)
	return count.n, err
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

// benchLayer makes 64 MB of files that pack about as well as software does.
func benchLayer(b *testing.B) []byte {
	b.Helper()
	if p := os.Getenv("GABION_BENCH_LAYER"); p != "" {
		blob, err := os.ReadFile(p)
		if err != nil {
			b.Fatal(err)
		}
		return blob
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 4096)
	for i := range words {
		w := make([]byte, 2+rnd.IntN(10))
		for j := range w {
			w[j] = byte(rnd.IntN(64) + 32)
		}
		words[i] = w
	}
	var buf bytes.Buffer
	zw := stdgzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for i, total := 0, 0; total < 64<<20; i++ {
		size := int(rnd.ExpFloat64() * 12000)
		data := make([]byte, 0, size+16)
		for len(data) < size {
			data = append(data, words[int(rnd.ExpFloat64()*300)%len(words)]...)
		}
		total += len(data)
		if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/part%d/file%d", i%97, i), Mode: 0o644, Size: int64(len(data))}); err != nil {
			b.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		b.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}
