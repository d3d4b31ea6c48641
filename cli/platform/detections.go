package platform

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/gabion-dev/gabion/guard/detect"
)

// Detections compiles the embedded detections and those in a folder; empty is
// none. A folder with a fault is refused as a whole: what was meant to be
// looked for would not be.
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
