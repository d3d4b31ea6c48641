package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
)

// docker speaks the Docker Engine API (any version from 1.24, 2016) with Docker
// itself or with Podman's compatible service. Only what is read is declared.
type docker struct {
	name, socket string
	client       *http.Client

	mu     sync.Mutex
	images map[string]string // image id -> digest
}

// maxAnswer bounds an answer: 10,000 containers take about 15 MB.
const maxAnswer = 64 << 20

// answerBound is how long a runtime may take to answer a question that an
// event leads to; then the connection is given up and made anew.
const answerBound = 10 * time.Second

func newDocker(name, socket string) *docker {
	var d net.Dialer
	return &docker{
		name: name, socket: socket, images: map[string]string{},
		client: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", socket)
			},
			MaxIdleConns: 8, MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second,
		}},
	}
}

func (d *docker) Name() string  { return d.name }
func (d *docker) Where() string { return d.socket }

func (d *docker) Close() error {
	d.client.CloseIdleConnections()
	return nil
}

func (d *docker) open(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.name+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", d.name, err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("ask %s at %s: %w", d.name, d.socket, ErrAbsent)
		}
		return nil, fmt.Errorf("ask %s at %s: %w", d.name, d.socket, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("ask %s for %s: %w", d.name, path, ErrNotFound)
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return nil, fmt.Errorf("ask %s for %s: %s: %s", d.name, path, resp.Status, strings.TrimSpace(string(text)))
}

func (d *docker) get(ctx context.Context, path string, query url.Values, v any) error {
	resp, err := d.open(ctx, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read answer of %s to %s: %w", d.name, path, err)
	}
	// Read to the end, or the connection cannot be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	return nil
}

func (d *docker) Probe(ctx context.Context) guard.Feature {
	f := guard.Feature{Name: d.name}
	var v struct{ Version, APIVersion string }
	if err := d.get(ctx, "/version", nil, &v); err != nil {
		f.Detail = err.Error()
		return f
	}
	f.Works, f.Detail = true, fmt.Sprintf("version %s at %s", v.Version, d.socket)
	return f
}

// dockerSummary is an entry of /containers/json.
type dockerSummary struct {
	ID      string `json:"Id"`
	Names   []string
	Image   string
	ImageID string
	State   string
	Labels  map[string]string
}

// dockerContainer is the answer of /containers/{id}/json.
type dockerContainer struct {
	ID    string `json:"Id"`
	Name  string
	Path  string
	Args  []string
	Image string // id
	State struct {
		Running bool
		Pid     int
	}
	Config struct {
		Image  string
		Labels map[string]string
	}
}

func (d *docker) List(ctx context.Context) ([]workload.Container, error) {
	var all []dockerSummary
	if err := d.get(ctx, "/containers/json", nil, &all); err != nil {
		return nil, err
	}
	var list []workload.Container
	for _, s := range all {
		c, err := d.running(ctx, s.ID)
		if errors.Is(err, ErrNotFound) {
			continue // it ended since
		}
		if err != nil {
			return list, err
		}
		if c.PID != 0 {
			list = append(list, c)
		}
	}
	return list, nil
}

// running has the first process too, but Docker answers it only when nobody
// else, such as its own start, holds the container.
func (d *docker) running(ctx context.Context, id string) (workload.Container, error) {
	var dc dockerContainer
	if err := d.get(ctx, "/containers/"+url.PathEscape(id)+"/json", nil, &dc); err != nil {
		return workload.Container{}, err
	}
	c := d.container(ctx, dc.ID, dc.Name, dc.Config.Image, dc.Image, dc.Config.Labels)
	if dc.Path != "" {
		c.Args = append([]string{dc.Path}, dc.Args...)
	}
	if dc.State.Running {
		c.PID = dc.State.Pid
	}
	return c, nil
}

// Inspect uses the listing, which Docker answers from a copy of its state: a
// question for one container waits while that container is being started.
func (d *docker) Inspect(ctx context.Context, id string) (workload.Container, error) {
	filter, err := json.Marshal(map[string][]string{"id": {id}})
	if err != nil {
		return workload.Container{}, fmt.Errorf("ask %s: %w", d.name, err)
	}
	var all []dockerSummary
	if err := d.get(ctx, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filter)}}, &all); err != nil {
		return workload.Container{}, err
	}
	for _, s := range all {
		if s.ID != id {
			continue // the filter takes prefixes
		}
		name := ""
		if len(s.Names) > 0 {
			name = s.Names[0]
		}
		return d.container(ctx, s.ID, name, s.Image, s.ImageID, s.Labels), nil
	}
	return workload.Container{}, fmt.Errorf("ask %s for %s: %w", d.name, id, ErrNotFound)
}

func (d *docker) container(ctx context.Context, id, name, image, imageID string, labels map[string]string) workload.Container {
	c := workload.Container{
		ID: id, Name: strings.TrimPrefix(name, "/"), Runtime: d.name,
		Image: image, ImageDigest: d.digest(ctx, imageID), Labels: labels,
	}
	describe(&c)
	return c
}

// digest is the digest an image was pulled by, or the image's own id when it
// was built or loaded here.
func (d *docker) digest(ctx context.Context, imageID string) string {
	if imageID == "" {
		return ""
	}
	d.mu.Lock()
	digest, ok := d.images[imageID]
	d.mu.Unlock()
	if ok {
		return digest
	}
	if !strings.Contains(imageID, ":") { // Podman
		digest = "sha256:" + imageID
	} else {
		digest = imageID
	}
	var img struct{ RepoDigests []string }
	if err := d.get(ctx, "/images/"+url.PathEscape(imageID)+"/json", nil, &img); err != nil && !errors.Is(err, ErrNotFound) {
		return digest // asked again next time
	}
	if len(img.RepoDigests) > 0 {
		if _, after, ok := strings.Cut(img.RepoDigests[0], "@"); ok {
			digest = after
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.images) >= 4096 {
		clear(d.images)
	}
	d.images[imageID] = digest
	return digest
}

func (d *docker) Watch(ctx context.Context, subscribed func(), fn func(Change)) error {
	// Podman says "died" and ignores what it does not know.
	filter := `{"type":["container","network"],"event":["start","die","died","rename","connect","disconnect"]}`
	resp, err := d.open(ctx, "/events", url.Values{"filters": {filter}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	subscribed()
	for dec := json.NewDecoder(resp.Body); ; {
		var ev struct {
			Type, Action string
			Actor        struct {
				ID         string
				Attributes struct {
					Container string `json:"container"`
				}
			}
		}
		if err := dec.Decode(&ev); err != nil {
			return fmt.Errorf("read events of %s: %w", d.name, err)
		}
		if ev.Type == "network" { // its addresses change
			ev.Actor.ID = ev.Actor.Attributes.Container
		}
		if ev.Actor.ID == "" {
			continue
		}
		if ev.Action == "die" || ev.Action == "died" {
			fn(Change{Container: workload.Container{ID: ev.Actor.ID}, Gone: true})
			continue
		}
		bound, cancel := context.WithTimeout(ctx, answerBound)
		c, err := d.running(bound, ev.Actor.ID)
		cancel()
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return err
		case c.PID != 0:
			fn(Change{Container: c})
		}
	}
}
