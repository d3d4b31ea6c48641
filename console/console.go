package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/console/access"
	"github.com/gabion-dev/gabion/console/tlscert"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/ui"
)

// Config is what the console can be told. The zero value is usable but for DataDir.
type Config struct {
	// Listen is the TLS address. Default: 127.0.0.1:8443. "off": no TLS listener.
	Listen string
	// Socket is the path of the unix socket for the command line. Default:
	// DataDir/console.sock. "off": no socket.
	Socket string
	// DataDir keeps the certificate. It must exist.
	DataDir string
	// Hosts are more names by which browsers may reach the console.
	Hosts []string
	// Idle and Absolute bound sessions. Defaults: 30 minutes, 12 hours.
	Idle, Absolute time.Duration
	// Link is how long a sign-in link is good. Default: 15 minutes.
	Link time.Duration
	// Heartbeat is the pause between signs of life on event streams, after
	// which the session is looked at again, too. Default: 15 seconds.
	Heartbeat time.Duration

	// read and write bound a request, stream one piece of a stream; tests make
	// them short.
	read, write, stream time.Duration
}

// FollowFunc calls fn with every event after afterSeq that q selects, in order
// of Seq, and goes on with new ones until ctx ends or fn fails.
type FollowFunc func(ctx context.Context, afterSeq uint64, q store.Query, fn func([]event.Event) error) error

// Deps are the rooms and tools the console works with. All are needed.
type Deps struct {
	Platform Platform
	Images   Images
	Store    store.Store
	Follow   FollowFunc
	// Record keeps events of the console itself (sign-in, refusals, changes).
	Record func(ctx context.Context, e event.Event) error
	Log    *slog.Logger
	Now    func() time.Time
	Rand   io.Reader // cryptographically secure
}

// Server is the console. Make one with New, then Run it.
type Server struct {
	cfg      Config
	deps     Deps
	api      huma.API
	mux      *http.ServeMux
	perms    map[string]permission // by operation ID
	hosts    map[string]bool
	node     string
	users    *access.Users
	sessions *access.Sessions
	links    *access.Links
	byAddr   *access.Limiter
	byName   *access.Limiter
	refusals *refusals
	streams  chan struct{} // one for each open stream
	cert     *tlscert.Keeper

	tcp, unix net.Listener // nil when off
}

// maxStreams bounds event streams that are open at a time.
const maxStreams = 64

// New opens the listeners and prepares everything, so that SignInLink and
// Addr can be used before Run. Call Run or Close afterwards.
func New(cfg Config, deps Deps) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:8443"
	}
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(cfg.DataDir, "console.sock")
	}
	setDefault(&cfg.Idle, 30*time.Minute)
	setDefault(&cfg.Absolute, 12*time.Hour)
	setDefault(&cfg.Link, 15*time.Minute)
	setDefault(&cfg.Heartbeat, 15*time.Second)
	setDefault(&cfg.read, 30*time.Second)
	setDefault(&cfg.write, 60*time.Second)
	setDefault(&cfg.stream, 10*time.Second)
	if deps.Platform == nil || deps.Images == nil || deps.Store == nil || deps.Follow == nil || deps.Record == nil || deps.Log == nil || deps.Now == nil || deps.Rand == nil {
		return nil, errors.New("make console: every field of Deps is needed")
	}
	s := &Server{
		cfg: cfg, deps: deps, mux: http.NewServeMux(), hosts: map[string]bool{"localhost": true},
		links:    access.NewLinks(cfg.Link, deps.Now, deps.Rand),
		byAddr:   access.NewLimiter(20, 5*time.Minute, deps.Now),
		byName:   access.NewLimiter(5, 5*time.Minute, deps.Now),
		streams:  make(chan struct{}, maxStreams),
		refusals: newRefusals(deps.Now),
	}
	if name, err := os.Hostname(); err == nil {
		s.node = name
		s.hosts[hostName(name)] = true
	}
	for _, h := range cfg.Hosts {
		s.hosts[hostName(h)] = true
	}
	var err error
	if s.users, err = access.NewUsers(deps.Store, deps.Now, deps.Rand); err != nil {
		return nil, fmt.Errorf("make console: %w", err)
	}
	s.sessions = access.NewSessions(deps.Store, s.users, access.Lifetimes{Idle: cfg.Idle, Absolute: cfg.Absolute}, deps.Now, deps.Rand)
	if err := s.routes(ui.Dist()); err != nil {
		return nil, fmt.Errorf("make console: %w", err)
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("make console: %w", err), s.Close())
	}
	return s, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

// listen opens the sockets that are not "off".
func (s *Server) listen() error {
	if s.cfg.Listen != "off" {
		names := []string{"localhost", "127.0.0.1", "::1"}
		for h := range s.hosts {
			if h != "localhost" {
				names = append(names, h)
			}
		}
		var err error
		if s.cert, err = tlscert.Open(filepath.Join(s.cfg.DataDir, "console.pem"), names, s.deps.Now, s.deps.Log); err != nil {
			return err
		}
		l, err := net.Listen("tcp", s.cfg.Listen)
		if err != nil {
			return fmt.Errorf("listen on %s: %w (another address can be given with --listen)", s.cfg.Listen, err)
		}
		s.tcp = tls.NewListener(l, &tls.Config{
			GetCertificate: s.cert.Certificate,
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"h2", "http/1.1"},
		})
	}
	if s.cfg.Socket != "off" {
		l, err := listenUnix(s.cfg.Socket)
		if err != nil {
			return err
		}
		s.unix = l
	}
	return nil
}

// Addr is the address of the TLS listener ("127.0.0.1:8443"), empty when off.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Socket is the path of the unix socket, empty when off.
func (s *Server) Socket() string {
	if s.unix == nil {
		return ""
	}
	return s.unix.Addr().String()
}

// Fingerprint is the SHA-256 fingerprint of the TLS certificate as browsers
// show it, empty when the TLS listener is off.
func (s *Server) Fingerprint() string {
	if s.cert == nil {
		return ""
	}
	return s.cert.Fingerprint()
}

// SignInLink makes a link that signs in once, as admin, and is good for
// Config.Link. The token is in the fragment: it is sent to nobody before the
// page itself posts it, so a link preview cannot use it up. Empty when there is
// no TLS listener or no randomness.
func (s *Server) SignInLink() string {
	link, _, err := s.mintLink(access.Admin)
	if err != nil {
		s.deps.Log.Error("cannot make a sign-in link", "cause", err)
		return ""
	}
	return link
}

// mintLink gives a link for role and when it expires.
func (s *Server) mintLink(role access.Role) (string, time.Time, error) {
	if s.tcp == nil {
		return "", time.Time{}, errors.New("the TLS listener is off")
	}
	token, expires, err := s.links.Mint(access.Identity{Name: "local " + string(role), Role: role})
	if err != nil {
		return "", time.Time{}, err
	}
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		return "", time.Time{}, err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, port) + "/signin#" + token, expires, nil
}

// Run serves until ctx ends, then lets requests finish for a few seconds.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	serve := func(l net.Listener, h http.Handler, conn func(context.Context, net.Conn) context.Context) {
		srv := &http.Server{
			Handler: h,
			// Streams end when ctx does, because their requests come from it.
			BaseContext:       func(net.Listener) context.Context { return ctx },
			ConnContext:       conn,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       s.cfg.read,
			WriteTimeout:      s.cfg.write, // streams and exports are freed from it
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    32 << 10,
			ErrorLog:          slog.NewLogLogger(s.deps.Log.Handler(), slog.LevelDebug),
		}
		g.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve console on %s: %w", l.Addr(), err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := srv.Shutdown(stop); err != nil {
				return srv.Close()
			}
			return nil
		})
	}
	if s.tcp != nil {
		serve(s.tcp, s.browserGate(s.mux), nil)
	}
	if s.unix != nil {
		serve(s.unix, s.socketGate(s.mux), peerContext)
	}
	g.Go(func() error { return s.housekeeping(ctx) })
	return g.Wait()
}

// Close releases the listeners of a Server that never ran.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.tcp, s.unix} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// housekeeping writes refusals down as they come and forgets ended sessions.
func (s *Server) housekeeping(ctx context.Context) error {
	flush := time.NewTicker(time.Second)
	defer flush.Stop()
	sweep := time.NewTicker(10 * time.Minute)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.flushRefusals(last)
			return nil
		case <-flush.C:
			s.flushRefusals(ctx)
		case <-sweep.C:
			if err := s.sessions.Sweep(ctx); err != nil {
				s.deps.Log.Warn("cannot forget ended sessions", "cause", err)
			}
		}
	}
}
