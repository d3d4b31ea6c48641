package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gabion-dev/gabion/scan"
)

// openContainer looks for a container in Docker, whose names are for people,
// and then in containerd.
func openContainer(ctx context.Context, id string, o *Options) (*Image, error) {
	img, err := inDocker(ctx, id, o)
	if err != nil && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnreachable)) {
		var also error
		if img, also = inContainerd(ctx, id, o); also != nil {
			kind := ErrNotFound
			if errors.Is(err, ErrUnreachable) && !errors.Is(also, ErrNotFound) {
				kind = ErrUnreachable
			}
			return nil, failedBy(errors.Join(err, also), kind, "check the id, and that this machine runs it", "find container %s", id)
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	img.Kind = scan.Container
	img.Name = id
	return img, nil
}

func inDocker(ctx context.Context, id string, o *Options) (*Image, error) {
	d, err := dialDocker(o)
	if err != nil {
		return nil, err
	}
	img, err := d.container(ctx, id)
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	img.closer = append(img.closer, d)
	return img, nil
}

func inContainerd(ctx context.Context, id string, o *Options) (*Image, error) {
	c, err := dialContainerd(o)
	if err != nil {
		return nil, err
	}
	img, err := c.container(ctx, id, o)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	img.closer = append(img.closer, c)
	return img, nil
}

// addUpper adds the writable layer of a container, or says that it cannot be
// reached.
func (i *Image) addUpper(id, dir string, err error) {
	if err == nil && dir == "" {
		err = errors.New("its storage has no directory of its own for it")
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(dir); err == nil {
			_ = f.Close() // read only
		}
	}
	if err != nil {
		i.Gaps = append(i.Gaps, scan.Gap{
			Where: "container " + id, What: fmt.Sprintf("its writable layer could not be reached: %v", err),
			Means: "what was changed in it since it started was not examined", Do: "scan on the machine that runs it, as root",
		})
		return
	}
	i.upper = dir
	i.Layers = append(i.Layers, scan.Layer{MediaType: UpperMediaType, Command: "container " + id})
}
