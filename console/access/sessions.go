package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gabion-dev/gabion/fleet/store"
)

const sessionKind = "console-session"

// Lifetimes bounds a session: it ends Idle after its last use and Absolute
// after sign-in, whichever comes first.
type Lifetimes struct {
	Idle, Absolute time.Duration
}

// sessionDoc is kept under the digest of the token; the token itself is only
// in the browser.
type sessionDoc struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role,omitempty"` // for link sessions; a user's role is looked up
	Link    bool      `json:"link,omitempty"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
	Remote  string    `json:"remote,omitempty"`
}

// Sessions are the browsers that are signed in. Safe for concurrent use.
type Sessions struct {
	docs  Docs
	users *Users
	now   func() time.Time
	rand  io.Reader
	life  Lifetimes
}

// NewSessions gives the sessions kept in docs.
func NewSessions(docs Docs, users *Users, life Lifetimes, now func() time.Time, rand io.Reader) *Sessions {
	return &Sessions{docs: docs, users: users, life: life, now: now, rand: rand}
}

// OpenUser begins a session of a user and gives its token.
func (s *Sessions) OpenUser(ctx context.Context, name, remote string) (string, error) {
	return s.open(ctx, sessionDoc{Name: name, Remote: remote})
}

// OpenLink begins a session of someone who came with a sign-in link.
func (s *Sessions) OpenLink(ctx context.Context, id Identity, remote string) (string, error) {
	return s.open(ctx, sessionDoc{Name: id.Name, Role: id.Role, Link: true, Remote: remote})
}

func (s *Sessions) open(ctx context.Context, d sessionDoc) (string, error) {
	token, err := newToken(s.rand)
	if err != nil {
		return "", err
	}
	d.Created, d.Seen = s.now().UTC(), s.now().UTC()
	return token, s.write(ctx, digest(token), d)
}

// Find gives who the token belongs to, or ErrNoSession. With use the session's
// idle time begins anew; requests that nobody made on purpose (a page that
// refreshes itself) go without.
func (s *Sessions) Find(ctx context.Context, token string, use bool) (Identity, error) {
	if len(token) != tokenLen {
		return Identity{}, ErrNoSession
	}
	key := digest(token)
	raw, err := s.docs.Document(ctx, sessionKind, key)
	if errors.Is(err, store.ErrNotFound) {
		return Identity{}, ErrNoSession
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read session: %w", err)
	}
	var d sessionDoc
	if err := json.Unmarshal(raw, &d); err != nil {
		return Identity{}, fmt.Errorf("read session: %w", err)
	}
	now := s.now()
	if s.ended(d, now) {
		return Identity{}, errors.Join(ErrNoSession, s.docs.Delete(ctx, sessionKind, key))
	}
	id := Identity{Name: d.Name, Role: d.Role, Session: token}
	if !d.Link {
		id.Role, err = s.users.Role(ctx, d.Name)
		if errors.Is(err, ErrNoUser) {
			return Identity{}, ErrNoSession
		}
		if err != nil {
			return Identity{}, err
		}
	}
	// Once a minute is enough; a write for each request is not needed.
	if use && now.Sub(d.Seen) > time.Minute {
		d.Seen = now.UTC()
		if err := s.write(ctx, key, d); err != nil {
			return Identity{}, err
		}
	}
	return id, nil
}

// Close ends one session.
func (s *Sessions) Close(ctx context.Context, token string) error {
	if err := s.docs.Delete(ctx, sessionKind, digest(token)); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// CloseUser ends every session of a user.
func (s *Sessions) CloseUser(ctx context.Context, name string) error {
	return s.sweep(ctx, func(d sessionDoc) bool { return !d.Link && d.Name == name })
}

// Sweep forgets sessions that have ended.
func (s *Sessions) Sweep(ctx context.Context) error {
	now := s.now()
	return s.sweep(ctx, func(d sessionDoc) bool { return s.ended(d, now) })
}

func (s *Sessions) sweep(ctx context.Context, gone func(sessionDoc) bool) error {
	docs, err := s.docs.Documents(ctx, sessionKind)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	for key, raw := range docs {
		var d sessionDoc
		if err := json.Unmarshal(raw, &d); err == nil && !gone(d) {
			continue
		}
		if err := s.docs.Delete(ctx, sessionKind, key); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("end session: %w", err)
		}
	}
	return nil
}

func (s *Sessions) ended(d sessionDoc, now time.Time) bool {
	return now.Sub(d.Seen) >= s.life.Idle || now.Sub(d.Created) >= s.life.Absolute
}

func (s *Sessions) write(ctx context.Context, key string, d sessionDoc) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	if err := s.docs.Put(ctx, sessionKind, key, raw); err != nil {
		return fmt.Errorf("keep session: %w", err)
	}
	return nil
}

// CSRF derives the token that a page of this session must send with every
// change. Another site can make the browser send the cookie, but can read
// neither it nor this.
func CSRF(session string) string {
	sum := sha256.Sum256([]byte("gabion csrf\x00" + session))
	return hex.EncodeToString(sum[:16])
}

// tokenLen is the length of a token in characters: 128 bits in hex.
const tokenLen = 32

func newToken(rand io.Reader) (string, error) {
	raw := make([]byte, tokenLen/2)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return hex.EncodeToString(raw), nil
}

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
