package walk

import (
	"context"
	"errors"
)

// Dir walks a directory as if it had been packed into a layer: the same entries
// to the same visitor, sorted. It never follows a symbolic link, never leaves
// root and does not enter other file systems of the kernel's own (proc, sysfs).
func Dir(ctx context.Context, root string, lim Limits, v Visitor) (Result, error) {
	return Result{}, errors.ErrUnsupported
}
