package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gabion-dev/gabion/scan"
)

// answerTime bounds one call to a daemon that may hang.
const answerTime = 30 * time.Second

// containerdClient speaks containerd's API.
type containerdClient struct {
	socket string
	conn   *grpc.ClientConn
}

func (c *containerdClient) Close() error { return c.conn.Close() }

// dialContainerd connects to the first socket that is there.
func dialContainerd(o *Options) (*containerdClient, error) {
	socket, err := socketOf(o.ContainerdSocket, "containerd", []string{
		"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker/containerd/containerd.sock",
	})
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), // a local socket
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)), grpc.WithNoProxy())
	if err != nil {
		return nil, failedBy(err, ErrUnreachable, "", "connect to containerd at %s", socket)
	}
	return &containerdClient{socket: socket, conn: conn}, nil
}

// socketOf finds a daemon's socket.
func socketOf(given, daemon string, usual []string) (string, error) {
	if given != "" {
		usual = []string{given}
	}
	for _, s := range usual {
		if fi, err := os.Stat(s); err == nil && fi.Mode()&os.ModeSocket != 0 {
			return s, nil
		}
	}
	return "", failed(ErrUnreachable, "start it, name its socket, or scan the image where it was pulled from", "connect to %s: no socket at %s", daemon, strings.Join(usual, ", "))
}

// failure sorts an error of gRPC.
func (c *containerdClient) failure(err error, format string, args ...any) error {
	switch status.Code(err) {
	case codes.NotFound:
		return failedBy(err, ErrNotFound, "", format, args...)
	case codes.PermissionDenied, codes.Unauthenticated:
		return failedBy(err, ErrUnauthorized, "run as root", format, args...)
	}
	if strings.Contains(err.Error(), "permission denied") { // of the socket itself, behind Unavailable
		return failedBy(err, ErrUnauthorized, "run as a user who may open "+c.socket, format, args...)
	}
	return failedBy(err, ErrUnreachable, "check that containerd runs", format, args...)
}

func inNamespace(ctx context.Context, ns string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", ns)
}

// namespaces lists them, the usual ones first.
func (c *containerdClient) namespaces(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := namespacesapi.NewNamespacesClient(c.conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, c.failure(err, "list namespaces of containerd")
	}
	var names []string
	for _, n := range resp.Namespaces {
		names = append(names, n.Name)
	}
	usual := []string{"moby", "default", "k8s.io"} // the last first, others behind
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(usual, b), slices.Index(usual, a)), cmp.Compare(a, b))
	})
	return names, nil
}

func openContainerd(ctx context.Context, ref string, o *Options) (*Image, error) {
	c, err := dialContainerd(o)
	if err != nil {
		return nil, err
	}
	img, err := c.find(ctx, ref, o)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	img.Kind = scan.Daemon
	img.closer = append(img.closer, c)
	return img, nil
}

// find looks for an image in all namespaces.
func (c *containerdClient) find(ctx context.Context, ref string, o *Options) (*Image, error) {
	spaces, err := c.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{ref}
	if n, err := name.ParseReference(ref); err == nil {
		if full := publicName(n); full != ref {
			names = append(names, full)
		}
	}
	for _, ns := range spaces {
		for _, n := range names {
			img, err := c.image(inNamespace(ctx, ns), n, o)
			if err == nil || !errors.Is(err, errNoImage) {
				return img, err
			}
		}
	}
	return nil, failed(ErrNotFound, "pull it, or scan it in its registry", "find image %s in containerd (namespaces %s)", ref, strings.Join(spaces, ", "))
}

// errNoImage is the absence of the name itself, and not of a part of it.
var errNoImage = errors.New("no such image")

// image opens an image by its exact name; ctx is in its namespace.
func (c *containerdClient) image(ctx context.Context, ref string, o *Options) (*Image, error) {
	short, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := imagesapi.NewImagesClient(c.conn).Get(short, &imagesapi.GetImageRequest{Name: ref})
	if status.Code(err) == codes.NotFound {
		return nil, errNoImage
	}
	if err != nil {
		return nil, c.failure(err, "find image %s in containerd", ref)
	}
	top, err := v1.NewHash(resp.GetImage().GetTarget().GetDigest())
	if err != nil {
		return nil, failedBy(err, ErrCorrupt, "pull it again", "read image %s of containerd", ref)
	}
	res := &resolver{o: o, name: ref, fetch: func(ctx context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		b, err := c.content(ctx, d.Digest)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		return readSmall(b, limit, d.Digest.String()+" of containerd")
	}}
	raw, err := res.get(ctx, v1.Descriptor{Digest: top}, o.MaxManifest)
	if err != nil {
		return nil, err
	}
	m, err := res.resolve(ctx, raw, top)
	if err != nil {
		return nil, err
	}
	img := &Image{Image: scan.Image{Name: ref, Digest: m.digest.String(), ConfigID: m.manifest.Config.Digest.String(), Tags: []string{ref}}}
	if m.index != (v1.Hash{}) {
		img.Index = m.index.String()
	}
	if err := fill(&img.Image, m.config, layersOf(m.manifest), o); err != nil {
		return nil, err
	}
	layers := m.manifest.Layers
	ns, _ := metadata.FromOutgoingContext(ctx)
	img.open = func(ctx context.Context, i int) (io.ReadCloser, error) {
		b, err := c.content(metadata.NewOutgoingContext(ctx, ns), layers[i].Digest)
		if errors.Is(err, ErrNotFound) {
			return nil, failedBy(err, ErrNotFound, "scan it in its registry, or set discard_unpacked_layers = false in containerd's configuration and pull again", "open layer %s: containerd threw it away after unpacking", layers[i].Digest)
		}
		return b, err
	}
	return img, nil
}

// content streams a blob out of the content store.
func (c *containerdClient) content(ctx context.Context, d v1.Hash) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := contentapi.NewContentClient(c.conn).Read(ctx, &contentapi.ReadContentRequest{Digest: d.String()})
	if err != nil {
		cancel()
		return nil, c.failure(err, "read %s of containerd", d)
	}
	b := &contentReader{c: c, d: d, stream: stream, cancel: cancel}
	// The first answer says whether it is there at all.
	if err := b.next(); err != nil && !errors.Is(err, io.EOF) {
		cancel()
		return nil, err
	}
	return b, nil
}

type contentReader struct {
	c      *containerdClient
	d      v1.Hash
	stream contentapi.Content_ReadClient
	cancel context.CancelFunc
	data   []byte
	err    error
}

func (b *contentReader) next() error {
	resp, err := b.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	case err != nil:
		b.err = b.c.failure(err, "read %s of containerd", b.d)
	default:
		b.data = resp.Data
	}
	return b.err
}

func (b *contentReader) Read(p []byte) (int, error) {
	for len(b.data) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		_ = b.next() // kept in b.err
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

func (b *contentReader) Close() error {
	b.cancel()
	return nil
}

// container finds a container by its id or the beginning of it, and opens its
// image and its writable layer.
func (c *containerdClient) container(ctx context.Context, id string, o *Options) (*Image, error) {
	spaces, err := c.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	type hit struct {
		ns string
		c  *containersapi.Container
	}
	var hits []hit
	for _, ns := range spaces {
		short, cancel := context.WithTimeout(inNamespace(ctx, ns), answerTime)
		resp, err := containersapi.NewContainersClient(c.conn).List(short, &containersapi.ListContainersRequest{
			Filters: []string{fmt.Sprintf("id~=^%s", regexp.QuoteMeta(id))},
		})
		cancel()
		if err != nil {
			return nil, c.failure(err, "find container %s in containerd", id)
		}
		for _, found := range resp.Containers {
			if found.ID == id {
				hits = []hit{{ns, found}}
				break
			}
			hits = append(hits, hit{ns, found})
		}
	}
	switch {
	case len(hits) == 0:
		return nil, failed(ErrNotFound, "check the id", "find container %s in containerd", id)
	case len(hits) > 1:
		return nil, failed(ErrAmbiguous, "write more of the id", "find container %s in containerd: %d begin so", id, len(hits))
	}
	ns, found := hits[0].ns, hits[0].c
	ctx = inNamespace(ctx, ns)
	img, err := c.image(ctx, found.Image, o)
	if errors.Is(err, errNoImage) {
		return nil, failed(ErrNotFound, "scan the image in its registry", "open container %s: its image %q is no longer in containerd", id, found.Image)
	}
	if err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	mounts, err := snapshotsapi.NewSnapshotsClient(c.conn).Mounts(short, &snapshotsapi.MountsRequest{Snapshotter: found.Snapshotter, Key: found.SnapshotKey})
	if err != nil {
		img.addUpper(found.ID, "", c.failure(err, "ask containerd"))
		return img, nil
	}
	dir := ""
	for _, m := range mounts.Mounts {
		for _, opt := range m.Options {
			if v, ok := strings.CutPrefix(opt, "upperdir="); ok {
				dir = v
			}
		}
	}
	img.addUpper(found.ID, dir, nil)
	return img, nil
}
