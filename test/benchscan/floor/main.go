// Command floor does what nobody who examines an image can leave out, and
// nothing else: it reads every layer of an image archive, takes the digest of
// the packed and the unpacked bytes, and walks the tar. Layers are read one
// after the other; unpacking is by the library that most scanners use.
package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: floor IMAGE.tar")
		os.Exit(1)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := tar.NewReader(bufio.NewReaderSize(f, 1<<20))
	var bytes int64
	entries := 0
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if strings.HasSuffix(h.Name, ".gz") {
			n, b, err := layer(archive)
			if err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
			entries, bytes = entries+n, bytes+b
		}
	}
	fmt.Printf("%d entries, %d bytes unpacked\n", entries, bytes)
	return nil
}

func layer(r io.Reader) (entries int, bytes int64, err error) {
	packed, unpacked := sha256.New(), sha256.New()
	zr, err := gzip.NewReader(bufio.NewReaderSize(io.TeeReader(r, packed), 1<<18))
	if err != nil {
		return 0, 0, err
	}
	count := &counter{r: io.TeeReader(zr, unpacked)}
	t := tar.NewReader(count)
	for ; ; entries++ {
		if _, err := t.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, 0, err
		}
	}
	if _, err := io.Copy(io.Discard, count); err != nil {
		return 0, 0, err
	}
	fmt.Printf("%x %x\n", packed.Sum(nil), unpacked.Sum(nil))
	return entries, count.n, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
