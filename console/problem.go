package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gabion-dev/gabion/console/access"
	"github.com/gabion-dev/gabion/fleet/store"
)

// problemType is the stable word of a problem, in the form RFC 9457 wants.
func problemType(code string) string { return "urn:gabion:problem:" + code }

// problem makes an answer that says what, why and what to do.
func problem(status int, code, detail string) *huma.ErrorModel {
	return &huma.ErrorModel{Type: problemType(code), Title: http.StatusText(status), Status: status, Detail: detail}
}

// fail turns an error of the rooms below into an answer. What is nobody's
// business outside (a path, a query) stays in the log, under a reference.
func (s *Server) fail(ctx context.Context, doing string, err error) error {
	var problems *Problems
	switch {
	case errors.As(err, &problems):
		p := problem(http.StatusUnprocessableEntity, "policy", "The policy was refused; nothing was changed.")
		for _, q := range problems.List {
			where := q.Field
			if q.Line > 0 {
				where = fmt.Sprintf("line %d: %s", q.Line, q.Field)
			}
			p.Errors = append(p.Errors, &huma.ErrorDetail{Message: q.Message, Location: where, Value: q})
		}
		return p
	case errors.Is(err, ErrNotFound), errors.Is(err, store.ErrNotFound), errors.Is(err, access.ErrNoUser):
		return problem(http.StatusNotFound, "not-found", "Cannot "+doing+": "+err.Error())
	case errors.Is(err, ErrConflict), errors.Is(err, access.ErrExists):
		return problem(http.StatusConflict, "conflict", "Cannot "+doing+": "+err.Error())
	case errors.Is(err, ErrRefused), errors.Is(err, access.ErrInvalid), errors.Is(err, store.ErrCursor):
		return problem(http.StatusUnprocessableEntity, "refused", "Cannot "+doing+": "+err.Error())
	case errors.Is(err, ErrBusy):
		return problem(http.StatusTooManyRequests, "busy", "Cannot "+doing+": "+err.Error())
	case ctx.Err() != nil:
		return problem(http.StatusServiceUnavailable, "stopped", "The request was given up before it was done.")
	}
	ref := randomID(s.deps.Rand)[:8]
	s.deps.Log.Error("console request failed", "doing", doing, "reference", ref, "cause", err)
	return problem(http.StatusInternalServerError, "internal", "Cannot "+doing+". The log of Gabion has the cause under reference "+ref+".")
}

// refuse answers a request that the gate turns away and notes it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, code, detail, hint string) {
	s.refused(r, identity(r.Context()).Name, code, "Console refused "+r.Method+" "+clip(r.URL.Path, 100)+": "+detail)
	s.writeError(w, r, problem(status, code, upperFirst(detail)+". "+hint))
}

// writeError answers outside of huma.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	p := &huma.ErrorModel{}
	if !errors.As(err, &p) {
		p = problem(http.StatusInternalServerError, "internal", "Something went wrong.")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		s.deps.Log.Debug("cannot answer", "path", r.URL.Path, "cause", err)
	}
}

func upperFirst(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
