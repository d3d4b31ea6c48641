package platform

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/gabion-dev/gabion/guard/detect"
)

// openDetections makes the detector of the embedded detections and of those in
// a folder; empty is none. A folder that cannot be read as a whole is refused:
// what was meant to be watched would not be.
func openDetections(dir string) (*detect.Engine, error) {
	pack, err := Detections(dir)
	if err != nil {
		return nil, err
	}
	return detect.New(pack), nil
}

// Detections compiles the embedded detections and those in a folder; empty is
// none.
func Detections(dir string) (*detect.Pack, error) {
	var own fs.FS
	if dir != "" {
		own = os.DirFS(dir)
	}
	pack, err := detect.With(own)
	if err != nil && dir != "" {
		return nil, fmt.Errorf("load detections of %s: %w", dir, err)
	}
	return pack, err
}
