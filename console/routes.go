package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gabion-dev/gabion/console/access"
)

// maxBody bounds a request's body in bytes.
const maxBody = 1 << 20

// newAPI gives the huma API on mux. Nothing is served besides the routes that
// are registered: no documentation pages, no schema files.
func newAPI(mux *http.ServeMux) huma.API {
	cfg := huma.DefaultConfig("Gabion", "v1")
	cfg.Info.Description = "The API of the Gabion console. Over TLS it wants a session cookie and, for changes, the header " +
		csrfHeader + "; over the unix socket the caller's user id is enough."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"session": {Type: "apiKey", In: "cookie", Name: cookieName, Description: "Set by signing in"},
		"csrf":    {Type: "apiKey", In: "header", Name: csrfHeader, Description: "For changes: the value of csrf in GET /api/v1/session"},
	}
	return humago.New(mux, cfg)
}

// routes registers everything that is served.
func (s *Server) routes(dist fs.FS) error {
	s.api = newAPI(s.mux)
	s.perms = map[string]permission{}
	for _, p := range permissions() {
		s.perms[p.ID] = p
	}
	r := &registrar{s: s, left: map[string]bool{}}
	for id := range s.perms {
		r.left[id] = true
	}
	s.signinRoutes(r)
	s.stateRoutes(r)
	s.eventRoutes(r)
	s.policyRoutes(r)
	s.actionRoutes(r)
	s.imageRoutes(r)
	s.userRoutes(r)
	s.descriptionRoute(r)
	for id := range r.left {
		r.errs = append(r.errs, fmt.Errorf("permission %s has no route", id))
	}
	if err := errors.Join(r.errs...); err != nil {
		return err
	}
	pages, err := newPages(dist)
	if err != nil {
		return err
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	})
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.hookRoute()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if safe(r.Method) && !strings.HasPrefix(r.URL.Path, "/api/") {
			pages.ServeHTTP(w, r)
			return
		}
		s.writeError(w, r, problem(http.StatusNotFound, "not-found", "There is no "+r.Method+" "+clip(r.URL.Path, 100)+" in this API."))
	})
	return nil
}

// registrar checks that routes and permissions are the same set.
type registrar struct {
	s    *Server
	left map[string]bool
	errs []error
}

// op takes the operation's method, path and role from the table.
func (r *registrar) op(id, tag, summary string, errs ...int) huma.Operation {
	p, ok := r.s.perms[id]
	if !ok || !r.left[id] {
		r.errs = append(r.errs, fmt.Errorf("route %s has no entry in permissions, or two routes share it", id))
	}
	delete(r.left, id)
	op := huma.Operation{
		OperationID: id, Method: p.Method, Path: p.Path, Summary: summary, Tags: []string{tag},
		Description: "Needs the role: " + string(p.Role) + ".", MaxBodyBytes: maxBody,
		Middlewares: huma.Middlewares{r.s.need(p)},
	}
	if p.Role != access.Public {
		errs = append(errs, http.StatusUnauthorized, http.StatusForbidden)
		scheme := map[string][]string{"session": {}}
		if !safe(p.Method) {
			scheme["csrf"] = []string{}
		}
		op.Security = []map[string][]string{scheme}
	}
	op.Errors = append(errs, http.StatusInternalServerError)
	return op
}

// need is the check of a route's role, before its input is read.
func (s *Server) need(p permission) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		id := identity(ctx.Context())
		if id.Role.Covers(p.Role) {
			next(ctx)
			return
		}
		r, w := humago.Unwrap(ctx)
		if !id.Role.Valid() {
			s.writeError(w, r, problem(http.StatusUnauthorized, "sign-in", "Sign in first: the session is missing or has ended."))
			return
		}
		s.refuse(w, r, http.StatusForbidden, "role", fmt.Sprintf("%s has the role %s and this needs %s", id.Name, id.Role, p.Role),
			"Ask an admin.")
	}
}

// route registers a handler whose errors go through fail.
func route[I, O any](r *registrar, op huma.Operation, doing string, handle func(context.Context, *I) (*O, error)) {
	if len(r.errs) > 0 {
		return // New reports them; a half-known operation must not be registered
	}
	huma.Register(r.s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err == nil {
			return out, nil
		}
		var status huma.StatusError
		if errors.As(err, &status) {
			return nil, err
		}
		return nil, r.s.fail(ctx, doing, err)
	})
}

// body is an answer that is only a JSON body.
type body[T any] struct {
	Body T
}

// none is an answer without content.
type none struct{}

// Describe gives the API description (OpenAPI 3.1, indented JSON) that
// openapi.json in this folder must equal.
func (s *Server) Describe() ([]byte, error) {
	raw, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("describe API: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("describe API: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func (s *Server) descriptionRoute(r *registrar) {
	type output struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	route(r, r.op("get-description", "Console", "This description"), "describe the API", func(context.Context, *struct{}) (*output, error) {
		raw, err := s.Describe()
		return &output{ContentType: "application/json", Body: raw}, err
	})
}
