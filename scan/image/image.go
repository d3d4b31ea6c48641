// Package image opens what can be scanned: images in registries, archives, OCI
// layouts, containerd and Docker, running containers, directories and SBOMs.
//
// It reads manifests and configurations, bounded and verified, and hands out
// the blobs of layers as they are stored; it does not unpack them (see
// scan/walk). The one idea: opening an image reads no layer, so a layer whose
// content is already known costs nothing.
package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gabion-dev/gabion/scan"
)

// UpperMediaType marks the writable layer of a container, which is a directory
// (see Image.Upper) and not a blob.
const UpperMediaType = "application/vnd.gabion.container.upper"

// Options say how to reach images. The zero value works.
type Options struct {
	// Platform is "linux/amd64" or "linux/arm64/v8"; "" is Linux on this machine's
	// processor, or whatever an image that exists for one platform only is for.
	Platform string

	PlainHTTP     bool   // also http:// registries
	SkipTLSVerify bool   // accept any certificate
	CAFile        string // PEM, besides the system's
	CertFile      string // PEM, the client's own certificate ...
	KeyFile       string // ... and its key

	// Explicit credentials, for the registry that is named and never for its
	// mirrors. Without any, those of the Docker and Podman configuration and its
	// credential helpers, else none.
	Username, Password, Token string
	// Anonymous asks without any, even if some are at hand.
	Anonymous bool

	// Mirrors are places tried before a registry, by its host: "host",
	// "host/prefix", "http://host".
	Mirrors map[string][]string

	// Sockets; "" is the usual places.
	ContainerdSocket, DockerSocket string

	UserAgent string
	// Transport carries requests to registries; nil is one made of the above. One
	// that is shared by many images keeps its connections between them.
	Transport http.RoundTripper
	// TempDir holds what must be spooled (compressed archives, images out of
	// Docker), in files without a name; "" is the system's.
	TempDir string

	MaxManifest int64 // bytes of a manifest or index; 0 is 8 MiB
	MaxConfig   int64 // bytes of a configuration; 0 is 8 MiB
	MaxLayers   int   // 0 is 1024
	MaxHistory  int   // steps; 0 is 4096
	MaxSpool    int64 // bytes spooled to disk for one image; 0 is 64 GiB
}

func (o Options) filled() *Options {
	o.MaxManifest = cmp.Or(o.MaxManifest, 8<<20)
	o.MaxConfig = cmp.Or(o.MaxConfig, 8<<20)
	o.MaxLayers = cmp.Or(o.MaxLayers, 1024)
	o.MaxHistory = cmp.Or(o.MaxHistory, 4096)
	o.MaxSpool = cmp.Or(o.MaxSpool, 64<<30)
	o.UserAgent = cmp.Or(o.UserAgent, "gabion")
	return &o
}

func (o *Options) platform() string { return cmp.Or(o.Platform, "linux/"+runtime.GOARCH) }

// Image is something that can be scanned.
type Image struct {
	scan.Image
	// Root is the directory to walk (Directory) or the file to read (SBOM).
	Root string
	// Index is the digest of the index the manifest was chosen from, where there
	// was one: signatures may be on either.
	Index string
	// Gaps are what could not be reached though the image could be opened.
	Gaps []scan.Gap

	open   func(ctx context.Context, layer int) (io.ReadCloser, error)
	upper  string
	repo   *repository
	closer []io.Closer
}

// Open opens what ref names: "registry:NAME", "docker:NAME", "containerd:NAME",
// "container:ID", "dir:PATH", "tar:FILE[:TAG]", "oci:DIR[:TAG|@DIGEST]",
// "sbom:FILE". Without a scheme, an existing path is opened as what its content
// says, and everything else is a name in a registry. Errors are *Error.
func Open(ctx context.Context, ref string, o Options) (*Image, error) {
	r, err := ParseRef(ref, nil)
	if err != nil {
		return nil, err
	}
	opt := o.filled()
	if _, err := parsePlatform(opt.platform()); err != nil {
		return nil, err
	}
	if r.Kind == "" {
		if r, err = byContent(r); err != nil {
			return nil, err
		}
	}
	var img *Image
	switch r.Kind {
	case scan.Registry:
		img, err = openRegistry(ctx, r.Name, opt)
	case scan.DockerArchive:
		img, err = openArchive(ctx, r, opt)
	case scan.OCILayout:
		img, err = openLayout(ctx, r, opt)
	case scan.Daemon:
		if r.Daemon == "docker" {
			img, err = openDocker(ctx, r.Name, opt)
		} else {
			img, err = openContainerd(ctx, r.Name, opt)
		}
	case scan.Container:
		img, err = openContainer(ctx, r.Name, opt)
	default:
		img, err = openPath(r)
	}
	if err != nil {
		return nil, meant(err, ref, r)
	}
	img.Name = cmp.Or(img.Name, r.Name)
	return img, nil
}

// meant helps those who name the images "docker" or "registry" of Docker Hub,
// whose names with a tag look like a scheme and a name.
func meant(err error, ref string, r Ref) error {
	var e *Error
	if !strings.HasPrefix(ref, "docker:") && !strings.HasPrefix(ref, "registry:") || strings.ContainsAny(r.Name, "/:@") || !errors.As(err, &e) {
		return err
	}
	help := *e
	help.Do = strings.TrimPrefix(help.Do+"; if you mean the image "+ref+" of Docker Hub, write docker.io/library/"+ref, "; ")
	return &help
}

// byContent decides what an existing path is.
func byContent(r Ref) (Ref, error) {
	fi, err := os.Stat(r.Name)
	if err != nil {
		return r, fileError(err, "open %s", r.Name)
	}
	if fi.IsDir() {
		r.Kind = scan.Directory
		if _, err := os.Stat(filepath.Join(r.Name, "oci-layout")); err == nil {
			r.Kind = scan.OCILayout
		}
		return r, nil
	}
	f, err := openRegular(r.Name)
	if err != nil {
		return r, err
	}
	defer f.Close()
	r.Kind = scan.DockerArchive
	// An SBOM is a document: JSON, XML or the tag-value form of SPDX.
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return r, fileError(err, "read %s", r.Name)
	}
	if isText(head[:n]) {
		r.Kind = scan.SBOM
	}
	return r, nil
}

// isText tells documents from archives: tar headers, gzip and zstd have bytes
// that no document starts with.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return len(b) > 0
}

// openPath opens directories and SBOMs, which are read by others.
func openPath(r Ref) (*Image, error) {
	fi, err := os.Stat(r.Name)
	if err != nil {
		return nil, fileError(err, "open %s", r.Name)
	}
	switch {
	case r.Kind == scan.Directory && !fi.IsDir():
		return nil, failed(ErrUnsupported, "name it without \"dir:\", or as \"tar:\" or \"sbom:\"", "open directory %s: it is a file", r.Name)
	case r.Kind == scan.SBOM && !fi.Mode().IsRegular():
		return nil, failed(ErrUnsupported, "name the file", "open SBOM %s: it is not a file", r.Name)
	}
	return &Image{Image: scan.Image{Name: r.Name, Kind: r.Kind}, Root: r.Name}, nil
}

// Blob opens a layer as it is stored. It may be called from several goroutines;
// nothing is verified here, walk.Layer does that.
func (i *Image) Blob(ctx context.Context, layer int) (io.ReadCloser, error) {
	switch {
	case layer < 0 || layer >= len(i.Layers):
		return nil, fmt.Errorf("open layer %d of %s: it has %d", layer, i.Name, len(i.Layers))
	case i.Layers[layer].MediaType == UpperMediaType:
		return nil, failed(ErrUnsupported, "walk the directory that Upper names", "open layer %d of %s: it is a directory", layer, i.Name)
	}
	return i.open(ctx, layer)
}

// Upper is the directory of a container's writable layer: the content of the
// layer whose media type is UpperMediaType. Empty when there is none.
func (i *Image) Upper() string { return i.upper }

// Close releases what Open took. Open blobs become invalid.
func (i *Image) Close() error {
	var errs []error
	for _, c := range i.closer {
		errs = append(errs, c.Close())
	}
	i.closer = nil
	return errors.Join(errs...)
}

// Repository tells where an image from a registry was found, by its digest, and
// how to reach it; false when it is from elsewhere. The options carry no
// context: add one.
func (i *Image) Repository() (name.Digest, []remote.Option, bool) {
	if i.repo == nil {
		return name.Digest{}, nil, false
	}
	return i.repo.at.name.Digest(i.Digest), i.repo.at.options(i.repo.o), true
}
