package walk

import (
	"context"
	"errors"
	"io"
)

// Layer walks the blob of a layer: a tar, packed with gzip, zstd or not at all,
// which its first bytes decide. An error means that the layer is lost (corrupt,
// truncated, not what was wanted, beyond a limit), whatever the visitor was
// shown until then. When ctx ends, a blob that is an io.Closer is closed.
func Layer(ctx context.Context, blob io.Reader, want Want, lim Limits, v Visitor) (Result, error) {
	return Result{}, errors.ErrUnsupported
}
