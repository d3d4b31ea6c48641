package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gabion-dev/gabion/event"
)

// File appends events to a file, a line of JSON each. A file that would grow
// over its bound is renamed to "<path>.1" (and .1 to .2 ...) and begun anew.
type File struct {
	path     string
	maxBytes int64
	keep     int
	f        *os.File
	size     int64
}

var _ Sender = (*File)(nil)

// NewFile makes a sender for an absolute path. maxBytes 0 means 64 MiB, keep
// (how many older files stay) 0 means 4.
func NewFile(path string, maxBytes int64, keep int) (*File, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("open file sink: %q is no absolute path", path)
	}
	if maxBytes == 0 {
		maxBytes = 64 << 20
	}
	if keep == 0 {
		keep = 4
	}
	return &File{path: path, maxBytes: maxBytes, keep: keep}, nil
}

// Name implements Sender.
func (f *File) Name() string { return "file " + f.path }

// Send implements Sender. The line is in the file, whole, or not at all.
func (f *File) Send(_ context.Context, e event.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write %s: %w: %v", f.path, ErrPermanent, err)
	}
	line = append(line, '\n')
	if err := f.ready(int64(len(line))); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	n, err := f.f.Write(line)
	if err != nil {
		if n > 0 { // take the torn line back
			err = errors.Join(err, f.f.Truncate(f.size))
		}
		return fmt.Errorf("write %s: %w", f.path, errors.Join(err, f.Close()))
	}
	f.size += int64(n)
	return nil
}

// ready opens the file when it is not open, was moved away by someone, or is full.
func (f *File) ready(more int64) error {
	if f.f != nil && !f.isThere() {
		if err := f.Close(); err != nil {
			return err
		}
	}
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size == 0 || f.size+more <= f.maxBytes {
		return nil
	}
	if err := f.Close(); err != nil {
		return err
	}
	for i := f.keep; i > 0; i-- {
		from := fmt.Sprintf("%s.%d", f.path, i-1)
		if i == 1 {
			from = f.path
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", f.path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	return f.open()
}

func (f *File) isThere() bool {
	mine, err1 := f.f.Stat()
	present, err2 := os.Stat(f.path)
	return err1 == nil && err2 == nil && os.SameFile(mine, present)
}

func (f *File) open() error {
	// No symbolic link as the last part: this runs as root and writes what
	// containers caused. Nor a pipe that nobody reads, which would block.
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return errors.Join(errors.New("is no regular file"), err, file.Close())
	}
	f.f, f.size = file, st.Size()
	return nil
}

// Close implements Sender.
func (f *File) Close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}
