package image

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gabion-dev/gabion/scan"
)

// dockerClient speaks the API of a Docker daemon, or of Podman, which serves
// the same, over its socket.
type dockerClient struct {
	socket string
	http   *http.Client
	o      *Options
}

func dialDocker(o *Options) (*dockerClient, error) {
	var usual []string
	if host, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		usual = append(usual, host)
	}
	usual = append(usual, "/run/docker.sock", "/var/run/docker.sock")
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		usual = append(usual, filepath.Join(dir, "docker.sock"), filepath.Join(dir, "podman/podman.sock"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		usual = append(usual, filepath.Join(home, ".docker/run/docker.sock"))
	}
	socket, err := socketOf(o.DockerSocket, "Docker", append(usual, "/run/podman/podman.sock"))
	if err != nil {
		return nil, err
	}
	return &dockerClient{socket: socket, o: o, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: answerTime}).DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}}, nil
}

// Close implements io.Closer.
func (d *dockerClient) Close() error {
	d.http.CloseIdleConnections()
	return nil
}

// get asks the daemon; the body is the caller's to close.
func (d *dockerClient) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, failedBy(err, ErrUnsupported, "", "ask Docker for %s", path)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		if strings.Contains(err.Error(), "permission denied") {
			return nil, failedBy(err, ErrUnauthorized, "run as a user who may open "+d.socket, "ask Docker for %s", path)
		}
		return nil, failedBy(err, ErrUnreachable, "check that Docker runs", "ask Docker for %s", path)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	kind := ErrUnreachable
	if resp.StatusCode == http.StatusNotFound {
		kind = ErrNotFound
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // for the message only
	return nil, failedBy(fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text)), kind, "", "ask Docker for %s", path)
}

func (d *dockerClient) json(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := d.get(ctx, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := readSmall(resp.Body, d.o.MaxConfig, path+" of Docker")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return failedBy(err, ErrCorrupt, "", "read %s of Docker", path)
	}
	return nil
}

// dockerImage is what /images/NAME/json tells.
type dockerImage struct {
	ID           string `json:"Id"`
	RepoTags     []string
	Created      time.Time
	Architecture string
	Variant      string
	OS           string `json:"Os"`
	RootFS       struct{ Layers []v1.Hash }
	Config       v1.Config
	// Descriptor is there when Docker keeps its images in containerd; ID then is
	// its digest and not that of the configuration.
	Descriptor *v1.Descriptor
}

// dockerStep is one line of /images/NAME/history, newest first.
type dockerStep struct {
	Created   int64
	CreatedBy string
	Comment   string
	Size      int64
}

func openDocker(ctx context.Context, ref string, o *Options) (*Image, error) {
	d, err := dialDocker(o)
	if err != nil {
		return nil, err
	}
	img, err := d.image(ctx, ref)
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	img.Kind = scan.Daemon
	img.closer = append(img.closer, d)
	return img, nil
}

// image opens an image of the daemon. Its layers are asked for when the first
// of them is opened, all at once: Docker has no other way to hand them out.
func (d *dockerClient) image(ctx context.Context, ref string) (*Image, error) {
	path := "/images/" + url.PathEscape(ref)
	var info dockerImage
	if err := d.json(ctx, path+"/json", &info); err != nil {
		return nil, err
	}
	var steps []dockerStep
	if err := d.json(ctx, path+"/history", &steps); err != nil {
		return nil, err
	}
	img := &Image{Image: scan.Image{Name: ref, ConfigID: info.ID, Tags: info.RepoTags}}
	if info.Descriptor != nil {
		img.ConfigID = ""
		if info.Descriptor.MediaType.IsImage() {
			img.Digest = info.Descriptor.Digest.String()
		} else {
			img.Index = info.Descriptor.Digest.String()
		}
	}
	config := &v1.ConfigFile{
		OS: info.OS, Architecture: info.Architecture, Variant: info.Variant, Created: v1.Time{Time: info.Created},
		Config: info.Config, RootFS: v1.RootFS{DiffIDs: info.RootFS.Layers}, History: history(steps, len(info.RootFS.Layers)),
	}
	for _, l := range info.RootFS.Layers {
		if err := checkDigest(l); err != nil {
			return nil, failedBy(err, ErrUnsupported, "", "read image %s of Docker", ref)
		}
	}
	if err := fill(&img.Image, config, make([]scan.Layer, len(info.RootFS.Layers)), d.o); err != nil {
		return nil, err
	}
	if err := wrongPlatform(&img.Image, d.o, "Docker has it for %s only; pull the other one first"); err != nil {
		return nil, err
	}
	s := &saving{d: d, ref: cmp.Or(info.ID, ref), name: ref, diffs: info.RootFS.Layers}
	img.open = s.open
	img.closer = append(img.closer, s)
	return img, nil
}

// history turns Docker's lines into steps. Which of them made no layer Docker
// does not say; when as many have a size as there are layers, those made them.
func history(steps []dockerStep, layers int) []v1.History {
	sized := 0
	for _, s := range steps {
		if s.Size > 0 {
			sized++
		}
	}
	out := make([]v1.History, 0, len(steps))
	for _, s := range slices.Backward(steps) {
		h := v1.History{CreatedBy: s.CreatedBy, Comment: s.Comment, EmptyLayer: sized == layers && s.Size == 0}
		if s.Created > 0 {
			h.Created = v1.Time{Time: time.Unix(s.Created, 0).UTC()}
		}
		out = append(out, h)
	}
	return out
}

// saving is the image as docker save writes it, spooled when first needed.
type saving struct {
	d     *dockerClient
	ref   string
	name  string
	diffs []v1.Hash

	mu  sync.Mutex
	img *Image // of the spooled archive
}

func (s *saving) open(ctx context.Context, i int) (io.ReadCloser, error) {
	img, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	return img.open(ctx, i)
}

func (s *saving) archive(ctx context.Context) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.img != nil {
		return s.img, nil
	}
	resp, err := s.d.get(ctx, "/images/"+url.PathEscape(s.ref)+"/get")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f, err := spool(ctx, resp.Body, nil, s.name, s.d.o)
	if err != nil {
		return nil, err
	}
	img, err := fromArchive(ctx, f, Ref{Name: s.name}, s.d.o)
	if err == nil && !slices.EqualFunc(img.Layers, s.diffs, func(l scan.Layer, d v1.Hash) bool { return l.DiffID == d.String() }) {
		err = failed(ErrCorrupt, "scan again", "open image %s: Docker changed it meanwhile", s.name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	img.closer = append(img.closer, f)
	s.img = img
	return img, nil
}

// Close implements io.Closer.
func (s *saving) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.img == nil {
		return nil
	}
	return s.img.Close()
}

// dockerContainer is what /containers/ID/json tells.
type dockerContainer struct {
	ID          string `json:"Id"`
	Image       string
	GraphDriver struct {
		Name string
		Data map[string]string
	}
}

// container opens a container's image and its writable layer.
func (d *dockerClient) container(ctx context.Context, id string) (*Image, error) {
	var c dockerContainer
	if err := d.json(ctx, "/containers/"+url.PathEscape(id)+"/json", &c); err != nil {
		return nil, err
	}
	img, err := d.image(ctx, c.Image)
	if err != nil {
		return nil, err
	}
	img.addUpper(c.ID, c.GraphDriver.Data["UpperDir"], nil)
	return img, nil
}
