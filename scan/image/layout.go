package image

import (
	"context"
	"io"
	"os"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gabion-dev/gabion/scan"
)

// store is where the files of an OCI layout are: a directory or an archive.
type store interface {
	// file opens a file of the layout by its path in it; ErrNotFound when there
	// is none.
	file(path string) (io.ReadCloser, error)
}

func blobPath(d v1.Hash) string { return "blobs/" + d.Algorithm + "/" + d.Hex }

func openLayout(ctx context.Context, r Ref, o *Options) (*Image, error) {
	root, err := os.OpenRoot(r.Name)
	if err != nil {
		return nil, fileError(err, "open OCI layout %s", r.Name)
	}
	img, err := fromLayout(ctx, dirStore{root}, r, "name one of them, as oci:"+r.Name+":%s", o)
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	img.Kind = scan.OCILayout
	img.closer = append(img.closer, root)
	return img, nil
}

// fromLayout opens the image in a layout, wherever that is. how says how to name
// one image of several.
func fromLayout(ctx context.Context, s store, r Ref, how string, o *Options) (*Image, error) {
	index, err := readFile(s, "index.json", o.MaxManifest)
	if err != nil {
		return nil, err
	}
	if index, err = tagged(index, r.Tag, r.Name, how); err != nil {
		return nil, err
	}
	res := &resolver{o: o, name: r.Name, fetch: func(_ context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
		return readFile(s, blobPath(d.Digest), limit)
	}}
	m, err := res.resolve(ctx, index, v1.Hash{})
	if err != nil {
		return nil, err
	}
	img := &Image{Image: scan.Image{Name: r.Name, Digest: m.digest.String(), ConfigID: m.manifest.Config.Digest.String()}}
	if m.index != (v1.Hash{}) {
		img.Index = m.index.String()
	}
	img.Tags = tagsIn(index, m)
	if err := fill(&img.Image, m.config, layersOf(m.manifest), o); err != nil {
		return nil, err
	}
	layers := m.manifest.Layers
	img.open = func(_ context.Context, i int) (io.ReadCloser, error) { return s.file(blobPath(layers[i].Digest)) }
	return img, nil
}

// dirStore is a layout in a directory. Links in it cannot leave it.
type dirStore struct{ root *os.Root }

func (d dirStore) file(path string) (io.ReadCloser, error) {
	f, err := d.root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError(err, "open %s of OCI layout %s", path, d.root.Name())
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		_ = f.Close()
		return nil, failedBy(err, ErrCorrupt, "", "open %s of OCI layout %s: not a file", path, d.root.Name())
	}
	return f, nil
}

// readFile reads a small file of a layout.
func readFile(s store, path string, limit int64) ([]byte, error) {
	f, err := s.file(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSmall(f, limit, path)
}
