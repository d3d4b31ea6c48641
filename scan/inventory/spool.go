package inventory

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// errSpool marks failures on our side, where a read error of the layer is not
// one: the first is a Gap, the second loses the layer.
var errSpool = errors.New("keep content in a temporary file")

// tempFile makes a file that has no name any more, so that nothing is left
// behind however the process ends.
func tempFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "gabion-scan-*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	return f, nil
}

// spool copies head and the rest of r to an unnamed temporary file by way of
// buf, showing all of it to see.
func spool(dir string, head []byte, r io.Reader, buf []byte, see func([]byte)) (*os.File, int64, error) {
	f, err := tempFile(dir)
	if err != nil {
		return nil, 0, err
	}
	n := int64(0)
	put := func(b []byte) error {
		see(b)
		n += int64(len(b))
		if _, err := f.Write(b); err != nil {
			return fmt.Errorf("%w: %w", errSpool, err)
		}
		return nil
	}
	err = put(head)
	for err == nil {
		var k int
		k, err = r.Read(buf)
		if werr := put(buf[:k]); werr != nil {
			err = werr
		}
	}
	if err != io.EOF {
		f.Close()
		return nil, n, err
	}
	return f, n, nil
}
