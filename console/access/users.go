package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/fleet/store"
)

const userKind = "console-user"

// maxUsers bounds the list; a console for more people wants single sign-on.
const maxUsers = 500

// User is a person who signs in with a password.
type User struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role" enum:"viewer,operator,admin"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

type userDoc struct {
	User
	Password string `json:"password"` // PHC string
}

// Users keeps the people who may sign in. Safe for concurrent use.
type Users struct {
	docs Docs
	now  func() time.Time
	rand io.Reader
	name *regexp.Regexp
	// hashing bounds how much memory argon2id takes at a time.
	hashing chan struct{}
	// decoy is verified against when there is no such user, so that the time
	// an answer takes does not tell which names exist.
	decoy string
}

// NewUsers gives the users kept in docs.
func NewUsers(docs Docs, now func() time.Time, rand io.Reader) (*Users, error) {
	decoy, err := hashPassword(rand, "no user has this one")
	if err != nil {
		return nil, err
	}
	return &Users{
		docs: docs, now: now, rand: rand, decoy: decoy, hashing: make(chan struct{}, 1),
		name: regexp.MustCompile(`^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$`),
	}, nil
}

// List gives every user, by name.
func (u *Users) List(ctx context.Context) ([]User, error) {
	docs, err := u.docs.Documents(ctx, userKind)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	users := make([]User, 0, len(docs))
	for name, raw := range docs {
		var d userDoc
		if err := json.Unmarshal(raw, &d); err != nil {
			return nil, fmt.Errorf("read user %s: %w", name, err)
		}
		users = append(users, d.User)
	}
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return users, nil
}

// Role gives the role a user has now, or ErrNoUser.
func (u *Users) Role(ctx context.Context, name string) (Role, error) {
	d, err := u.read(ctx, name)
	return d.Role, err
}

// Create adds a user. The error is ErrExists or ErrInvalid where it is the
// caller's fault.
func (u *Users) Create(ctx context.Context, name, password string, role Role) (User, error) {
	if !u.name.MatchString(name) {
		return User{}, invalid("a user's name has up to 64 lower-case letters, digits and . _ @ - inside")
	}
	if !role.Valid() {
		return User{}, invalid("role %q: there are viewer, operator and admin", role)
	}
	if _, err := u.read(ctx, name); err == nil {
		return User{}, fmt.Errorf("create user %s: %w", name, ErrExists)
	} else if !errors.Is(err, ErrNoUser) {
		return User{}, err
	}
	all, err := u.docs.Documents(ctx, userKind)
	if err != nil {
		return User{}, fmt.Errorf("list users: %w", err)
	}
	if len(all) >= maxUsers {
		return User{}, invalid("there are %d users already, which is the most", maxUsers)
	}
	d := userDoc{User: User{Name: name, Role: role, Created: u.now().UTC(), Changed: u.now().UTC()}}
	if d.Password, err = u.hash(ctx, password); err != nil {
		return User{}, err
	}
	return d.User, u.write(ctx, d)
}

// Change sets a user's role and password where they are given (not empty).
func (u *Users) Change(ctx context.Context, name, password string, role Role) (User, error) {
	d, err := u.read(ctx, name)
	if err != nil {
		return User{}, err
	}
	if role != "" {
		if !role.Valid() {
			return User{}, invalid("role %q: there are viewer, operator and admin", role)
		}
		d.Role = role
	}
	if password != "" {
		if d.Password, err = u.hash(ctx, password); err != nil {
			return User{}, err
		}
	}
	d.Changed = u.now().UTC()
	return d.User, u.write(ctx, d)
}

// Delete removes a user, or gives ErrNoUser.
func (u *Users) Delete(ctx context.Context, name string) error {
	if _, err := u.read(ctx, name); err != nil {
		return err
	}
	if err := u.docs.Delete(ctx, userKind, name); err != nil {
		return fmt.Errorf("delete user %s: %w", name, err)
	}
	return nil
}

// Verify gives the user when the password is right, else ErrCredentials.
func (u *Users) Verify(ctx context.Context, name, password string) (User, error) {
	d, err := u.read(ctx, name)
	known := err == nil
	if err != nil && !errors.Is(err, ErrNoUser) {
		return User{}, err
	}
	phc := d.Password
	if !known {
		phc = u.decoy
	}
	if err := u.enter(ctx); err != nil {
		return User{}, err
	}
	right := passwordMatches(phc, password)
	u.leave()
	if !right || !known {
		return User{}, ErrCredentials
	}
	return d.User, nil
}

func (u *Users) hash(ctx context.Context, password string) (string, error) {
	if len(password) < minPassword || len(password) > maxPassword {
		return "", invalid("a password has %d to %d bytes", minPassword, maxPassword)
	}
	if err := u.enter(ctx); err != nil {
		return "", err
	}
	defer u.leave()
	return hashPassword(u.rand, password)
}

func (u *Users) enter(ctx context.Context) error {
	select {
	case u.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *Users) leave() { <-u.hashing }

func (u *Users) read(ctx context.Context, name string) (userDoc, error) {
	var d userDoc
	if !u.name.MatchString(name) { // also keeps strange names away from the store
		return d, fmt.Errorf("user %q: %w", name, ErrNoUser)
	}
	raw, err := u.docs.Document(ctx, userKind, name)
	if errors.Is(err, store.ErrNotFound) {
		return d, fmt.Errorf("user %s: %w", name, ErrNoUser)
	}
	if err != nil {
		return d, fmt.Errorf("read user %s: %w", name, err)
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("read user %s: %w", name, err)
	}
	return d, nil
}

func (u *Users) write(ctx context.Context, d userDoc) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode user %s: %w", d.Name, err)
	}
	if err := u.docs.Put(ctx, userKind, d.Name, raw); err != nil {
		return fmt.Errorf("keep user %s: %w", d.Name, err)
	}
	return nil
}
