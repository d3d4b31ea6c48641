package console

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gabion-dev/gabion/console/access"
)

const (
	// cookieName begins with __Host-, so that browsers take it only over TLS,
	// for this host and for every path, and no other host can set it.
	cookieName = "__Host-gabion"
	csrfHeader = "X-Gabion-CSRF"
	// passiveHeader marks requests that a page makes on its own; they do not
	// keep a session alive.
	passiveHeader = "X-Gabion-Passive"
)

// contentPolicy lets the page run its own files and talk to its own server,
// and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

type identityKey struct{}

func withIdentity(ctx context.Context, id access.Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// identity gives who makes the request; the zero value is nobody.
func identity(ctx context.Context) access.Identity {
	id, _ := ctx.Value(identityKey{}).(access.Identity)
	return id
}

// browserGate is what every request over TLS passes: response headers, the
// host it was sent to, the site it came from, and who sends it. Roles are
// checked later, where the route is known.
func (s *Server) browserGate(next http.Handler) http.Handler {
	sites := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secureHeaders(w.Header())
		if !s.hostAllowed(r.Host) {
			s.refuse(w, r, http.StatusMisdirectedRequest, "host", "this console does not answer to the host "+clip(r.Host, 100),
				"Use the address that was printed at the start, or name the host with --host.")
			return
		}
		if err := sites.Check(r); err != nil {
			s.refuse(w, r, http.StatusForbidden, "origin", "the request comes from another site",
				"Open the console itself and try again.")
			return
		}
		ctx := r.Context()
		if c, err := r.Cookie(cookieName); err == nil && strings.HasPrefix(r.URL.Path, "/api/") {
			id, err := s.sessions.Find(ctx, c.Value, r.Header.Get(passiveHeader) == "")
			switch {
			case err == nil:
				ctx = withIdentity(ctx, id)
			case !errors.Is(err, access.ErrNoSession):
				s.writeError(w, r, s.fail(ctx, "find session", err))
				return
			}
		}
		id := identity(ctx)
		// Signing in needs no token: a page that is about to sign in has none,
		// though its browser may still have a session. Other sites were refused above.
		if id.Session != "" && !safe(r.Method) && !strings.HasPrefix(r.URL.Path, "/api/v1/signin/") {
			got, want := r.Header.Get(csrfHeader), access.CSRF(id.Session)
			if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
				s.refuse(w, r.WithContext(ctx), http.StatusForbidden, "csrf", "the header "+csrfHeader+" is missing or wrong",
					"Send the value of csrf from GET /api/v1/session.")
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func secureHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

// hostAllowed stops DNS rebinding: a page of another site that made its name
// resolve to this address still sends its own name. An address literal cannot
// be rebound, so any is fine.
func (s *Server) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return s.hosts[hostName(name)]
}

// hostName is the one form of the many in which a name of DNS can be written.
func hostName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// remote is the address a request came from, without its port.
func remote(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return "local"
}

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
