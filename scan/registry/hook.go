package registry

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	maxPushes   = 1024
	maxHookBody = 1 << 20
)

// ErrBusy says that too many pushes wait already.
var ErrBusy = errors.New("too many pushes wait to be examined")

// Pushed is one image that arrived in a registry.
type Pushed struct {
	Repository string // below the registry
	Tag        string // may be empty
	Digest     string // may be empty
}

// references are where the image is found and what it is called. It is found
// by its digest where that is known: registries tell of a push before the tag
// leads anywhere.
func (p Pushed) references(host string, o ...name.Option) (found, called name.Reference, err error) {
	repo, err := repository(host, p.Repository, o...)
	if err != nil {
		return nil, nil, err
	}
	if p.Digest != "" {
		if found, err = name.NewDigest(repo.Name()+"@"+p.Digest, o...); err != nil {
			return nil, nil, err
		}
	}
	if p.Tag != "" {
		if called, err = name.NewTag(repo.Name()+":"+p.Tag, o...); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case found == nil && called == nil:
		return nil, nil, errors.New("neither tag nor digest is given")
	case found == nil:
		return called, called, nil
	case called == nil:
		return found, found, nil
	}
	return found, called, nil
}

// repository names one below a registry. Parts that servers would take for the
// folder above are refused: patterns see names, not where they lead.
func repository(host, repo string, o ...name.Option) (name.Repository, error) {
	for part := range strings.SplitSeq(repo, "/") {
		if part == "" || part == "." || part == ".." {
			return name.Repository{}, fmt.Errorf("read repository name %q: it has an empty part, \".\" or \"..\"", repo)
		}
	}
	return name.NewRepository(host+"/"+repo, o...)
}

// Push asks for an image to be examined as soon as Run is not sweeping. Images
// the target does not choose are passed over (false); one that waits already
// waits once; ErrBusy when too many do.
func (s *Sweeper) Push(p Pushed) (bool, error) {
	if len(s.t.Repositories) > 0 && !globs(s.t.Repositories).match(p.Repository) || !chosen(p.Repository, s.t.Include, s.t.Exclude) {
		return false, nil
	}
	if p.Tag != "" && (companion.MatchString(p.Tag) || !chosen(p.Tag, s.t.Tags.Include, s.t.Tags.Exclude)) {
		return false, nil
	}
	if _, _, err := p.references(s.t.Registry); err != nil {
		return false, fmt.Errorf("read push: %w", err)
	}
	return true, s.pushes.put(p)
}

// queue holds pushes, each once.
type queue struct {
	ready chan struct{} // holds one while something waits
	max   int
	mu    sync.Mutex
	order []Pushed
	in    map[Pushed]bool
}

func newQueue(size int) *queue {
	return &queue{ready: make(chan struct{}, 1), max: size, in: map[Pushed]bool{}}
}

func (q *queue) put(p Pushed) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.in[p] {
		return nil
	}
	if len(q.order) >= q.max {
		return ErrBusy
	}
	q.in[p] = true
	q.order = append(q.order, p)
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return nil
}

func (q *queue) take() (Pushed, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return Pushed{}, false
	}
	p := q.order[0]
	q.order = q.order[1:]
	delete(q.in, p)
	return p, true
}

// Hook receives the notifications of registries: those of Harbor and those of
// the distribution registry. It believes nothing of them but which repository
// and tag to look at, in the registry the target names.
type Hook struct {
	secret [sha256.Size]byte
	push   func(Pushed) (bool, error)
	log    *slog.Logger
}

// NewHook makes a receiver. Callers send secret in the header Authorization, as
// it is or behind "Bearer "; there is no receiver without one. push is usually
// Sweeper.Push.
func NewHook(secret string, push func(Pushed) (bool, error), log *slog.Logger) (*Hook, error) {
	if len(secret) < 16 {
		return nil, errors.New("make webhook: the shared secret has less than 16 characters")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Hook{sha256.Sum256([]byte(secret)), push, log}, nil
}

// ServeHTTP answers 202 with how many pushes were taken, 400 for what cannot be
// read, 401, 405, 413, and 503 with Retry-After when too many wait.
func (h *Hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send notifications with POST", http.StatusMethodNotAllowed)
		return
	}
	// Digests are compared, so that neither content nor length shows in time.
	got := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	if subtle.ConstantTimeCompare(got[:], h.secret[:]) != 1 {
		http.Error(w, "the shared secret is missing or wrong", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHookBody))
	if err != nil {
		status := http.StatusBadRequest
		if tooBig := new(http.MaxBytesError); errors.As(err, &tooBig) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), status)
		return
	}
	pushes, err := parsePushes(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	taken, passed := 0, 0
	for _, p := range pushes {
		ok, err := h.push(p)
		switch {
		case errors.Is(err, ErrBusy):
			h.log.Warn("push refused", "repository", p.Repository, "tag", p.Tag, "reason", err)
			w.Header().Set("Retry-After", "30")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		case err != nil || !ok:
			passed++
		default:
			taken++
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "{\"taken\":%d,\"passed\":%d}\n", taken, passed)
}

// parsePushes reads a notification. Events that are no pushes of images are no
// error: registries send those too.
func parsePushes(body []byte) ([]Pushed, error) {
	var n struct {
		// Harbor
		Type      string `json:"type"`
		EventData *struct {
			Resources []struct {
				Digest string `json:"digest"`
				Tag    string `json:"tag"`
			} `json:"resources"`
			Repository struct {
				FullName string `json:"repo_full_name"`
			} `json:"repository"`
		} `json:"event_data"`
		// distribution
		Events []struct {
			Action string `json:"action"`
			Target struct {
				MediaType  string `json:"mediaType"`
				Digest     string `json:"digest"`
				Repository string `json:"repository"`
				Tag        string `json:"tag"`
			} `json:"target"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, fmt.Errorf("read notification: %w", err)
	}
	if n.Events == nil && n.EventData == nil && n.Type == "" {
		return nil, errors.New("read notification: it is neither Harbor's nor the distribution registry's")
	}
	var out []Pushed
	add := func(repository, tag, digest string) {
		if tag == digest { // Harbor names an untagged image so
			tag = ""
		}
		if repository != "" && cmp.Or(tag, digest) != "" {
			out = append(out, Pushed{repository, tag, digest})
		}
	}
	if n.EventData != nil && n.Type == "PUSH_ARTIFACT" {
		for _, r := range n.EventData.Resources {
			add(n.EventData.Repository.FullName, r.Tag, r.Digest)
		}
	}
	for _, e := range n.Events {
		if e.Action == "push" && (strings.Contains(e.Target.MediaType, "manifest") || strings.Contains(e.Target.MediaType, "image.index")) {
			add(e.Target.Repository, e.Target.Tag, e.Target.Digest)
		}
	}
	return out, nil
}
