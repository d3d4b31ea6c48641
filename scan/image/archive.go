package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gabion-dev/gabion/scan"
)

// Bounds of an archive's table.
const (
	maxArchiveFiles = 200_000
	maxArchiveLinks = 8
)

// archive is the table of a tar that holds an image: where each file starts.
// Making it reads headers only.
type archive struct {
	f     *os.File
	name  string
	files map[string]extent
	links map[string]string // link -> path in the archive
}

type extent struct{ off, size int64 }

// indexArchive reads the headers of an uncompressed tar, seeking over contents.
func indexArchive(f *os.File, name string) (*archive, error) {
	a := &archive{f: f, name: name, files: map[string]extent{}, links: map[string]string{}}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, failedBy(err, ErrCorrupt, "save or copy the archive again", "read archive %s behind %d entries", name, len(a.files)+len(a.links))
		}
		if len(a.files)+len(a.links) >= maxArchiveFiles {
			return nil, failed(ErrTooBig, "an image's archive has one file per layer; a root file system can be unpacked and scanned as a directory", "read archive %s: more than %d entries", name, maxArchiveFiles)
		}
		p := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			off, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, fileError(err, "read archive %s", name)
			}
			delete(a.links, p)
			a.files[p] = extent{off, h.Size}
		case tar.TypeSymlink:
			a.links[p] = path.Clean("/" + path.Dir(p) + "/" + h.Linkname)[1:]
		case tar.TypeLink:
			a.links[p] = path.Clean("/" + h.Linkname)[1:]
		}
	}
	return a, nil
}

// find follows the links that old versions of docker save write for layers that
// come twice.
func (a *archive) find(p string) (extent, error) {
	p = path.Clean("/" + p)[1:]
	for at, hops := p, 0; hops < maxArchiveLinks; hops++ {
		if e, ok := a.files[at]; ok {
			return e, nil
		}
		next, ok := a.links[at]
		if !ok {
			break
		}
		at = next
	}
	return extent{}, failed(ErrNotFound, "save the image again", "open %s in archive %s", p, a.name)
}

func (a *archive) has(p string) bool { _, err := a.find(p); return err == nil }

// file implements store. Contents may be read at the same time.
func (a *archive) file(p string) (io.ReadCloser, error) {
	e, err := a.find(p)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.f, e.off, e.size)), nil
}

func openArchive(ctx context.Context, r Ref, o *Options) (*Image, error) {
	f, err := openRegular(r.Name)
	if err != nil {
		return nil, err
	}
	if f, err = unpackArchive(ctx, f, r.Name, o); err != nil {
		return nil, err
	}
	img, err := fromArchive(ctx, f, r, o)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	img.closer = append(img.closer, f)
	return img, nil
}

// fromArchive opens the image in an uncompressed archive.
func fromArchive(ctx context.Context, f *os.File, r Ref, o *Options) (*Image, error) {
	a, err := indexArchive(f, r.Name)
	if err != nil {
		return nil, err
	}
	how := "name one of them, as tar:" + r.Name + ":%s"
	switch {
	case a.has("manifest.json"):
		img, err := fromDocker(a, r, how, o)
		if err == nil {
			img.Kind = scan.DockerArchive
		}
		return img, err
	case a.has("index.json") && a.has("oci-layout"):
		img, err := fromLayout(ctx, a, r, how, o)
		if err == nil {
			img.Kind = scan.OCIArchive
		}
		return img, err
	case a.has("repositories"):
		return nil, failed(ErrUnsupported, "save it again with Docker 1.10 or later", "open archive %s: it is of the first format of docker save", r.Name)
	}
	return nil, failed(ErrUnsupported, "an image's archive has a manifest.json (docker save) or an index.json (OCI); unpack anything else and scan the directory", "open archive %s: it holds no image", r.Name)
}

// saved is one image in the manifest.json of docker save.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// parseSaved reads manifest.json and picks the image that tag names.
func parseSaved(raw []byte, tag, name, how string) (saved, error) {
	var all []saved
	if err := json.Unmarshal(raw, &all); err != nil {
		return saved{}, failedBy(err, ErrCorrupt, "save the image again", "read manifest.json of %s", name)
	}
	var names []string
	for _, s := range all {
		id := strings.TrimSuffix(path.Base(s.Config), ".json")
		if tag != "" && slices.ContainsFunc(append(s.RepoTags, "sha256:"+id), func(t string) bool { return t == tag || strings.HasSuffix(t, ":"+tag) || strings.HasSuffix(t, "/"+tag) }) {
			return s, nil
		}
		names = append(names, cmp.Or(strings.Join(s.RepoTags, ","), "sha256:"+id))
	}
	list := strings.Join(names[:min(len(names), listPlatforms)], ", ")
	switch {
	case len(all) == 0:
		return saved{}, failed(ErrNotFound, "save the image again", "open archive %s: its manifest.json lists no image", name)
	case tag != "":
		return saved{}, failed(ErrNotFound, "it holds "+list, "open %s of archive %s", tag, name)
	case len(all) > 1:
		return saved{}, failed(ErrAmbiguous, fmt.Sprintf(how, strings.Split(names[0], ",")[0]), "open archive %s: it holds %d images: %s", name, len(all), list)
	}
	return all[0], nil
}

// fromDocker opens an image as docker save writes it. Newer versions also write
// an OCI layout; where it has the same image, its digests are taken.
func fromDocker(a *archive, r Ref, how string, o *Options) (*Image, error) {
	raw, err := readFile(a, "manifest.json", o.MaxManifest)
	if err != nil {
		return nil, err
	}
	s, err := parseSaved(raw, r.Tag, r.Name, how)
	if err != nil {
		return nil, err
	}
	if raw, err = readFile(a, s.Config, o.MaxConfig); err != nil {
		return nil, err
	}
	config, err := parseConfig(raw, r.Name)
	if err != nil {
		return nil, err
	}
	id, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, failedBy(err, ErrCorrupt, "", "read configuration of %s", r.Name)
	}
	if len(s.Layers) > o.MaxLayers {
		return nil, failed(ErrTooBig, "raise the limit if the image is right", "read archive %s: %d layers, more than %d", r.Name, len(s.Layers), o.MaxLayers)
	}
	img := &Image{Image: scan.Image{Name: r.Name, ConfigID: id.String(), Tags: s.RepoTags}}
	layers := make([]scan.Layer, len(s.Layers))
	for i, p := range s.Layers {
		if layers[i], err = a.layer(p); err != nil {
			return nil, err
		}
	}
	if m, digest := a.manifestOf(id, o); m != nil && len(m.Layers) == len(layers) {
		img.Digest = digest.String()
		layers = layersOf(m)
	}
	if err := fill(&img.Image, config, layers, o); err != nil {
		return nil, err
	}
	if err := wrongPlatform(&img.Image, o, "the archive has it for %s only"); err != nil {
		return nil, err
	}
	for i := range img.Layers {
		if l := &img.Layers[i]; l.Digest == "" && strings.HasSuffix(l.MediaType, ".tar") {
			l.Digest = l.DiffID // the blob is the tar
		}
	}
	img.open = func(_ context.Context, i int) (io.ReadCloser, error) { return a.file(s.Layers[i]) }
	return img, nil
}

// layer tells size and packing of a layer by its first bytes.
func (a *archive) layer(p string) (scan.Layer, error) {
	e, err := a.find(p)
	if err != nil {
		return scan.Layer{}, err
	}
	head := make([]byte, 4)
	if _, err := a.f.ReadAt(head[:min(4, e.size)], e.off); err != nil && !errors.Is(err, io.EOF) {
		return scan.Layer{}, fileError(err, "read archive %s", a.name)
	}
	l := scan.Layer{Size: e.size, MediaType: "application/vnd.oci.image.layer.v1.tar"}
	switch packing(head) {
	case "gzip":
		l.MediaType += "+gzip"
	case "zstd":
		l.MediaType += "+zstd"
	}
	return l, nil
}

// manifestOf finds the manifest of the image with this configuration in the OCI
// layout that the archive may also be, or nothing.
func (a *archive) manifestOf(config v1.Hash, o *Options) (*v1.Manifest, v1.Hash) {
	raw, err := readFile(a, "index.json", o.MaxManifest)
	if err != nil {
		return nil, v1.Hash{}
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, v1.Hash{}
	}
	for _, d := range index.Manifests[:min(len(index.Manifests), maxManifests)] {
		if checkDigest(d.Digest) != nil || d.MediaType.IsIndex() {
			continue
		}
		raw, err := readFile(a, blobPath(d.Digest), o.MaxManifest)
		if err != nil {
			continue
		}
		if h, _, err := v1.SHA256(bytes.NewReader(raw)); err != nil || h != d.Digest {
			continue
		}
		if m, err := v1.ParseManifest(bytes.NewReader(raw)); err == nil && m.Config.Digest == config {
			return m, d.Digest
		}
	}
	return nil, v1.Hash{}
}
