package console

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gabion-dev/gabion/console/access"
)

// SessionInfo is who is signed in, and what a page needs to make changes.
type SessionInfo struct {
	User string      `json:"user"`
	Role access.Role `json:"role" enum:"viewer,operator,admin"`
	// CSRF goes into the header X-Gabion-CSRF of every change; empty on the
	// unix socket, which needs none.
	CSRF string `json:"csrf,omitempty"`
}

func sessionInfo(id access.Identity) SessionInfo {
	info := SessionInfo{User: id.Name, Role: id.Role}
	if id.Session != "" {
		info.CSRF = access.CSRF(id.Session)
	}
	return info
}

// signedIn is an answer that hands out a session.
type signedIn struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      SessionInfo
}

// RemoteInput lets a handler know where a request came from.
type RemoteInput struct {
	remote string
	req    *http.Request
}

// Resolve is called by huma before the handler.
func (i *RemoteInput) Resolve(ctx huma.Context) []error {
	r := requestOf(ctx)
	i.req, i.remote = r, remote(r)
	return nil
}

func (s *Server) signinRoutes(r *registrar) {
	type linkSignInInput struct {
		RemoteInput
		Body struct {
			Token string `json:"token" minLength:"1" maxLength:"128" doc:"The part of the sign-in link after #"`
		}
	}
	route(r, r.op("sign-in-link", "Session", "Sign in with a one-time link", 401), "sign in",
		func(ctx context.Context, in *linkSignInInput) (*signedIn, error) {
			// No limit on attempts: 128 bits are not guessed, and whoever floods
			// the password form must not lock out the owner of the machine.
			id, err := s.links.Redeem(in.Body.Token)
			if err != nil {
				s.refused(in.req, "", "link", "Someone tried a sign-in link that is used, expired or wrong")
				return nil, problem(http.StatusUnauthorized, "link", "This sign-in link was used already or has expired. `gabion console link` prints a new one.")
			}
			if err := s.leave(ctx); err != nil {
				return nil, err
			}
			token, err := s.sessions.OpenLink(ctx, id, in.remote)
			if err != nil {
				return nil, err
			}
			s.change(ctx, id.Name, "signed-in", id.Name+" signed in with a one-time link", map[string]string{"remote": in.remote})
			id.Session = token
			return s.signedIn(id), nil
		})

	type passwordSignInInput struct {
		RemoteInput
		Body struct {
			User     string `json:"user" minLength:"1" maxLength:"64"`
			Password string `json:"password" minLength:"1" maxLength:"256"`
		}
	}
	route(r, r.op("sign-in-password", "Session", "Sign in with a password", 401, 429), "sign in",
		func(ctx context.Context, in *passwordSignInInput) (*signedIn, error) {
			addr, name := "addr "+in.remote, "user "+in.Body.User
			if err := s.slow(addr, name); err != nil {
				s.refused(in.req, "", "too-many", "Too many failed sign-ins")
				return nil, err
			}
			user, err := s.users.Verify(ctx, in.Body.User, in.Body.Password)
			if errors.Is(err, access.ErrCredentials) {
				s.byAddr.Fail(addr)
				s.byName.Fail(name)
				// The name is not written down: people type passwords there.
				s.refused(in.req, "", "credentials", "A sign-in failed: user or password is wrong")
				return nil, problem(http.StatusUnauthorized, "credentials", "User or password is wrong.")
			}
			if err != nil {
				return nil, err
			}
			s.byName.Clear(name)
			if err := s.leave(ctx); err != nil {
				return nil, err
			}
			token, err := s.sessions.OpenUser(ctx, user.Name, in.remote)
			if err != nil {
				return nil, err
			}
			s.change(ctx, user.Name, "signed-in", user.Name+" signed in with a password", map[string]string{"remote": in.remote})
			return s.signedIn(access.Identity{Name: user.Name, Role: user.Role, Session: token}), nil
		})

	route(r, r.op("get-session", "Session", "Who is signed in"), "read session",
		func(ctx context.Context, _ *struct{}) (*body[SessionInfo], error) {
			return &body[SessionInfo]{sessionInfo(identity(ctx))}, nil
		})

	type signedOut struct {
		SetCookie http.Cookie `header:"Set-Cookie"`
	}
	route(r, r.op("sign-out", "Session", "End this session"), "sign out",
		func(ctx context.Context, _ *struct{}) (*signedOut, error) {
			id := identity(ctx)
			if id.Session != "" {
				if err := s.sessions.Close(ctx, id.Session); err != nil {
					return nil, err
				}
				s.change(ctx, id.Name, "signed-out", id.Name+" signed out", nil)
			}
			c := sessionCookie("")
			c.MaxAge = -1
			return &signedOut{SetCookie: c}, nil
		})
}

// leave ends the session that the browser already has when it signs in anew.
func (s *Server) leave(ctx context.Context) error {
	if old := identity(ctx).Session; old != "" {
		return s.sessions.Close(ctx, old)
	}
	return nil
}

func (s *Server) signedIn(id access.Identity) *signedIn {
	c := sessionCookie(id.Session)
	c.MaxAge = int(s.cfg.Absolute / time.Second)
	return &signedIn{SetCookie: c, Body: sessionInfo(id)}
}

func sessionCookie(value string) http.Cookie {
	return http.Cookie{Name: cookieName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// slow is the answer to someone who failed too often, nil to others.
func (s *Server) slow(keys ...string) error {
	var wait time.Duration
	for _, k := range keys {
		wait = max(wait, s.byAddr.Wait(k), s.byName.Wait(k))
	}
	if wait == 0 {
		return nil
	}
	seconds := int(wait/time.Second) + 1
	return huma.ErrorWithHeaders(
		problem(http.StatusTooManyRequests, "too-many", "Too many failed sign-ins. Try again in "+strconv.Itoa(seconds)+" seconds."),
		http.Header{"Retry-After": {strconv.Itoa(seconds)}})
}
