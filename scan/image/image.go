// Package image opens what can be scanned: images in registries, archives, OCI
// layouts, containerd and Docker, running containers, directories and SBOMs.
//
// It reads manifests and configurations, bounded and verified, and hands out
// the blobs of layers as they are stored; it does not unpack them (see
// scan/walk). The one idea: opening an image reads no layer, so a layer whose
// content is already known costs nothing.
package image

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gabion-dev/gabion/scan"
)

// Errors of Open and Blob, matched with errors.Is. The error itself says what
// happened and what to do.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("not authorised")
	ErrUnsupported  = errors.New("not supported")
	ErrPlatform     = errors.New("no such platform")
	ErrCorrupt      = errors.New("corrupt")
	ErrTooBig       = errors.New("too big")
	ErrUnreachable  = errors.New("not reachable")
)

// UpperMediaType marks the writable layer of a container, which is a directory
// (see Image.Upper) and not a blob.
const UpperMediaType = "application/vnd.gabion.container.upper"

// Options say how to reach images. The zero value works.
type Options struct {
	Platform string // "linux/amd64", "linux/arm64/v8"; "" is Linux on this machine's processor

	PlainHTTP     bool   // also http:// registries
	SkipTLSVerify bool   // accept any certificate
	CAFile        string // PEM, besides the system's
	CertFile      string // PEM, the client's own certificate ...
	KeyFile       string // ... and its key

	// Explicit credentials. Without any, those of the Docker and Podman
	// configuration and its credential helpers, else none.
	Username, Password, Token string

	// Mirrors are hosts tried before a registry, by its host.
	Mirrors map[string][]string

	ContainerdSocket, DockerSocket string // "" is the usual places

	UserAgent string
	// Transport carries requests to registries; nil is one made of the above.
	Transport http.RoundTripper
	// TempDir holds what must be spooled (compressed archives, images out of
	// Docker), in files without a name; "" is the system's.
	TempDir string

	MaxManifest int64 // bytes of a manifest or index; 0 is 8 MiB
	MaxConfig   int64 // bytes of a configuration; 0 is 8 MiB
	MaxLayers   int   // 0 is 1024
	MaxHistory  int   // steps; 0 is 4096
}

// Image is something that can be scanned.
type Image struct {
	scan.Image
	// Root is the directory to walk (Directory) or the file to read (SBOM).
	Root string
	// Gaps are what could not be reached though the image could be opened.
	Gaps []scan.Gap
}

// Open opens what ref names: "registry:NAME", "docker:NAME", "containerd:NAME",
// "container:ID", "dir:PATH", "tar:FILE[:TAG]", "oci:DIR[:TAG|@DIGEST]",
// "sbom:FILE". Without a scheme, an existing path is opened as what its content
// says, and everything else is a name in a registry.
func Open(ctx context.Context, ref string, o Options) (*Image, error) {
	return nil, ErrUnsupported
}

// Blob opens a layer as it is stored. It may be called from several goroutines;
// nothing is verified here, walk.Layer does that.
func (i *Image) Blob(ctx context.Context, layer int) (io.ReadCloser, error) {
	return nil, ErrUnsupported
}

// Upper is the directory of a container's writable layer: the content of the
// layer whose media type is UpperMediaType. Empty when there is none.
func (i *Image) Upper() string { return "" }

// Close releases what Open took. Open blobs become invalid.
func (i *Image) Close() error { return nil }

// Repository tells where an image from a registry is, by its digest, and how to
// reach it; false when it is from elsewhere.
func (i *Image) Repository() (name.Digest, []remote.Option, bool) {
	return name.Digest{}, nil, false
}
