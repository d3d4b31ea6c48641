package server

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Server is the handler. TLS, and bounds on the size and time of headers, are
// up to the http.Server around it.
type Server struct {
	c       Config
	d       Deps
	clients map[string][sha256.Size]byte
	key     []byte // names flights without keeping what they are made of
	queue   *queue
	flights *flights
	stop    context.CancelFunc
	bodies  chan struct{}
	mux     *http.ServeMux
	count   counters
}

// New makes a server. Close ends its work.
func New(c Config, d Deps) (*Server, error) {
	if d.Backend == nil || d.Layers == nil {
		return nil, errors.New("make scan server: a backend and a place for layers are needed")
	}
	if len(c.Tokens) == 0 {
		return nil, errors.New("make scan server: there is no token, so nobody could use it")
	}
	c.Parallel, c.Queue, c.Uploads = cmp.Or(c.Parallel, 2), cmp.Or(c.Queue, 64), cmp.Or(c.Uploads, 8)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Minute)
	c.MaxRequest, c.MaxLayer, c.MaxMerge = cmp.Or(c.MaxRequest, 16<<20), cmp.Or(c.MaxLayer, 128<<20), cmp.Or(c.MaxMerge, 1<<30)
	d.Alive = cmp.Or(d.Alive, 15*time.Second)
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{c: c, d: d, clients: map[string][sha256.Size]byte{}, key: make([]byte, 32), bodies: make(chan struct{}, c.Uploads)}
	seen := map[[sha256.Size]byte]string{}
	for client, token := range c.Tokens {
		if len(token) < 16 {
			return nil, fmt.Errorf("make scan server: the token of %q has less than 16 characters", client)
		}
		sum := sha256.Sum256([]byte(token))
		if other, ok := seen[sum]; ok {
			return nil, fmt.Errorf("make scan server: %q and %q have the same token", min(client, other), max(client, other))
		}
		seen[sum] = client
		s.clients[client] = sum
	}
	for _, p := range c.Registries {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("make scan server: registry %q: %w", p, err)
		}
	}
	if _, err := rand.Read(s.key); err != nil {
		return nil, fmt.Errorf("make scan server: %w", err)
	}
	s.queue = &queue{slots: c.Parallel, room: c.Queue}
	ctx, stop := context.WithCancel(context.Background())
	s.flights, s.stop = &flights{air: map[string]*flight{}, ctx: ctx}, stop
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	s.mux.HandleFunc("GET /metrics", s.metrics)
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request, string) *Error{
		"GET /v1/info": s.info, "POST /v1/scan": s.scan, "POST /v1/layers/missing": s.missing,
		"PUT /v1/layers/{diffID}": s.put, "POST /v1/merge": s.merge,
	} {
		s.mux.HandleFunc(pattern, s.guarded(h))
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close ends all scans and waits for them; clients are told.
func (s *Server) Close() error {
	s.flights.mu.Lock()
	s.stop()
	s.flights.mu.Unlock()
	s.flights.wg.Wait()
	return nil
}

// guarded lets known clients through, and writes refusals.
func (s *Server) guarded(h func(http.ResponseWriter, *http.Request, string) *Error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.count.requests.Add(1)
		client, ok := s.client(r.Header.Get("Authorization"))
		e := refuse(http.StatusUnauthorized, CodeUnauthorized, "send the token that the server's keeper gave you", "the token is missing or wrong")
		if ok {
			e = h(w, r, client)
		}
		if e == nil {
			return
		}
		s.count.refused.Add(1)
		if e.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "10")
		}
		s.d.Log.Info("request refused", "client", client, "path", r.URL.Path, "status", e.status, "code", e.Code, "reason", e.Message)
		reply(w, e.status, e)
	}
}

// client finds who a token is of. All tokens are compared, in constant time.
func (s *Server) client(header string) (string, bool) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	sum := sha256.Sum256([]byte(token))
	found := ""
	for client, want := range s.clients {
		if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 {
			found = client
		}
	}
	return found, ok && found != ""
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client hears of a broken connection; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(v)
}

func busy(format string, args ...any) *Error {
	return refuse(http.StatusServiceUnavailable, CodeBusy, "try again soon", format, args...)
}

// body reads a bounded body, of which only so many are held at once.
func (s *Server) body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, func(), *Error) {
	select {
	case s.bodies <- struct{}{}:
	default:
		return nil, nil, busy("too many requests are being received")
	}
	release := func() { <-s.bodies }
	// The deadline is for the body alone: later it would look as if the client
	// had left. Servers in tests without connections know no deadlines.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(2 * time.Minute))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	s.count.received.Add(int64(len(b)))
	if err != nil {
		release()
		if tooBig := new(http.MaxBytesError); errors.As(err, &tooBig) {
			return nil, nil, refuse(http.StatusRequestEntityTooLarge, CodeTooBig, "", "more than %d bytes", limit)
		}
		return nil, nil, refuse(http.StatusBadRequest, CodeInvalid, "", "read request: %v", err)
	}
	return b, release, nil
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request, _ string) *Error {
	reply(w, http.StatusOK, Info{s.d.Backend.Version(), s.d.Backend.Database()})
	return nil
}

func (s *Server) scan(w http.ResponseWriter, r *http.Request, client string) *Error {
	body, release, e := s.body(w, r, s.c.MaxRequest)
	if e != nil {
		return e
	}
	req, e := s.parseScan(body)
	release()
	if e != nil {
		return e
	}
	// Equal requests share one scan; those with other credentials are not equal.
	canonical, err := json.Marshal(req)
	if err != nil {
		return refuse(http.StatusBadRequest, CodeInvalid, "", "read request: %v", err)
	}
	s.d.Log.Info("scan asked for", "client", client, "reference", req.Reference)
	return s.stream(w, r, s.name(canonical), func(ctx context.Context, tell func(Event)) (*scan.Report, error) {
		return s.d.Backend.Scan(ctx, req, tell)
	})
}

// name makes the key of a flight: nothing that is kept tells what was in it.
func (s *Server) name(parts ...[]byte) string {
	m := hmac.New(sha256.New, s.key)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:", len(p))
		m.Write(p)
	}
	return hex.EncodeToString(m.Sum(nil))
}

func (s *Server) missing(w http.ResponseWriter, r *http.Request, client string) *Error {
	body, release, e := s.body(w, r, s.c.MaxRequest)
	if e != nil {
		return e
	}
	req, e := parseMissing(body)
	release()
	if e != nil {
		return e
	}
	if e := s.version(req.Version); e != nil {
		return e
	}
	answer := MissingAnswer{Missing: []string{}}
	for _, l := range req.Layers {
		if _, ok := s.contents(client, l); !ok {
			answer.Missing = append(answer.Missing, l)
		}
	}
	reply(w, http.StatusOK, answer)
	return nil
}

func (s *Server) version(v string) *Error {
	if own := s.d.Backend.Version(); v != own {
		return refuse(http.StatusConflict, CodeVersion, "use a client of the server's version", "layers were examined by extractor %q, the server's is %q", v, own)
	}
	return nil
}

// contents prefers what the server saw itself.
func (s *Server) contents(client, diffID string) ([]byte, bool) {
	v := s.d.Backend.Version()
	if b, ok := s.d.Layers.Get(diffID, v); ok {
		return b, true
	}
	return s.d.Layers.GetOf(client, diffID, v)
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, client string) *Error {
	id := r.PathValue("diffID")
	if e := diffID(id); e != nil {
		return e
	}
	if e := s.version(r.URL.Query().Get("version")); e != nil {
		return e
	}
	body, release, e := s.body(w, r, s.c.MaxLayer)
	if e != nil {
		return e
	}
	defer release()
	if err := s.d.Backend.Check(body); err != nil {
		return refuse(http.StatusBadRequest, CodeInvalid, "", "these are no contents of a layer: %v", err)
	}
	if err := s.d.Layers.PutOf(client, id, s.d.Backend.Version(), body); err != nil {
		s.d.Log.Error("layer could not be kept", "layer", id, "error", err)
		return refuse(http.StatusInternalServerError, CodeFailed, "try again", "the layer could not be kept")
	}
	s.count.layers.Add(1)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) merge(w http.ResponseWriter, r *http.Request, client string) *Error {
	body, release, e := s.body(w, r, s.c.MaxRequest)
	if e != nil {
		return e
	}
	req, lost, e := s.parseMerge(body)
	release()
	if e != nil {
		return e
	}
	if e := s.version(req.Version); e != nil {
		return e
	}
	return s.stream(w, r, s.name([]byte(client), body), func(ctx context.Context, _ func(Event)) (*scan.Report, error) {
		// Read only when its turn came: contents are big.
		contents := make([][]byte, len(req.Image.Layers))
		var total int64
		gone := &Error{Code: CodeMissing, Message: "the server does not know some layers (any more)", Do: "send them"}
		for i, l := range req.Image.Layers {
			if lost[i] {
				continue
			}
			b, ok := s.contents(client, l.DiffID)
			if !ok {
				gone.Layers = append(gone.Layers, l.DiffID)
				continue
			}
			contents[i] = b
			if total += int64(len(b)); total > s.c.MaxMerge {
				return nil, &Error{Code: CodeTooBig, Message: fmt.Sprintf("the layers hold more than %d bytes of findings", s.c.MaxMerge)}
			}
		}
		if len(gone.Layers) > 0 {
			return nil, gone
		}
		return s.d.Backend.Merge(ctx, req, contents)
	})
}

// stream takes part in a flight and writes its events until it ends.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, key string, work func(context.Context, func(Event)) (*scan.Report, error)) *Error {
	f, events, shared, e := s.flights.join(key, s.queue, s.c.Timeout, work)
	if e != nil {
		return e
	}
	defer s.flights.leave(key, f, events)
	s.count.scans.Add(1)
	if shared {
		s.count.shared.Add(1)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	control, enc := http.NewResponseController(w), json.NewEncoder(w)
	write := func(e Event) bool {
		// Who does not read for a minute is gone.
		_ = control.SetWriteDeadline(time.Now().Add(time.Minute))
		return enc.Encode(e) == nil && control.Flush() == nil
	}
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	alive := time.NewTicker(s.d.Alive)
	defer alive.Stop()
	for {
		select {
		case e := <-events:
			if !write(e) {
				return nil
			}
		case <-alive.C:
			if !write(Event{}) {
				return nil
			}
		case <-r.Context().Done():
			return nil
		case <-f.done:
			if f.err != nil {
				s.count.failed.Add(1)
			}
			write(Event{Report: f.report, Error: f.err})
			return nil
		}
	}
}
