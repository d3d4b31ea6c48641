// Package access knows who may use the console: roles, users with passwords,
// sessions, one-time sign-in links, and the limit on failed attempts.
//
// It speaks no HTTP and decides about no route; package console does. The one
// idea: a secret is handed out once and only its digest is kept, and a role is
// looked up at every use, so that removing a user ends what they were doing.
package access

import (
	"context"
	"errors"
	"fmt"
)

// Role is what a person may do. Each role includes the ones before it.
type Role string

// Roles. Public is for routes that need no identity; nobody has it as a role.
const (
	Public   Role = "public"
	Viewer   Role = "viewer"   // sees everything, changes nothing
	Operator Role = "operator" // acts on containers, loads and promotes policies
	Admin    Role = "admin"    // removes policies, manages users
)

// rank is 0 for anything that is no role, so that it covers nothing but Public.
func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Operator:
		return 2
	case Admin:
		return 3
	}
	return 0
}

// Valid reports whether a user can have r.
func (r Role) Valid() bool { return r.rank() > 0 }

// Covers reports whether r suffices where need is asked for. An unknown need
// is never covered.
func (r Role) Covers(need Role) bool {
	if need == Public {
		return true
	}
	return need.Valid() && r.rank() >= need.rank()
}

// Identity is who makes a request. The zero value is nobody.
type Identity struct {
	Name string
	Role Role
	// Session is the session's token where there is one; empty for a request
	// over the local socket.
	Session string
}

// Errors of this package, matched with errors.Is.
var (
	ErrCredentials = errors.New("user or password is wrong")
	ErrNoSession   = errors.New("no such session, or it has ended")
	ErrLink        = errors.New("the sign-in link was used already or has expired")
	ErrExists      = errors.New("there is such a user already")
	ErrNoUser      = errors.New("no such user")
	ErrInvalid     = errors.New("not acceptable")
)

// Docs is where users and sessions are kept: the document face of store.Store.
type Docs interface {
	Put(ctx context.Context, kind, name string, doc []byte) error
	Document(ctx context.Context, kind, name string) ([]byte, error)
	Documents(ctx context.Context, kind string) (map[string][]byte, error)
	Delete(ctx context.Context, kind, name string) error
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
