package image

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// fileError sorts an error of the file system.
func fileError(err error, format string, args ...any) error {
	var pe *fs.PathError
	cause := err
	if errors.As(err, &pe) {
		cause = pe.Err // the path is told once
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failedBy(cause, ErrNotFound, "check the path", format, args...)
	case errors.Is(err, fs.ErrPermission):
		return failedBy(cause, ErrUnauthorized, "run as a user who may read it", format, args...)
	}
	return failedBy(cause, ErrUnreachable, "", format, args...)
}

// openRegular opens a regular file, and nothing that could block.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError(err, "open %s", path)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = failed(ErrUnsupported, "name a file or a directory", "open %s: it is neither", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
