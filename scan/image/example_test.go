package image_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/gabion-dev/gabion/scan/image"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	built, err := random.Image(1024, 3)
	if err == nil {
		var p layout.Path
		if p, err = layout.Write(filepath.Join(dir, "app"), empty.Index); err == nil {
			err = p.AppendImage(built)
		}
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	img, err := image.Open(context.Background(), "oci:"+filepath.Join(dir, "app"), image.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer img.Close()
	fmt.Println(img.Kind, len(img.Layers), "layers")
	// Output: oci-layout 3 layers
}
