package access

import (
	"io"
	"slices"
	"sync"
	"time"
)

// maxLinks bounds the links that wait to be used; the oldest goes first.
const maxLinks = 16

// Links are one-time sign-in links: printed on the terminal of someone who is
// trusted already, good for one sign-in within their time. They are kept in
// memory only and end with the process.
type Links struct {
	now  func() time.Time
	rand io.Reader
	life time.Duration

	mu   sync.Mutex
	list []link
}

type link struct {
	digest  string
	id      Identity
	expires time.Time
}

// NewLinks gives an empty set of links that are good for life.
func NewLinks(life time.Duration, now func() time.Time, rand io.Reader) *Links {
	return &Links{now: now, rand: rand, life: life}
}

// Mint makes a link for id and gives its token.
func (l *Links) Mint(id Identity) (token string, expires time.Time, err error) {
	token, err = newToken(l.rand)
	if err != nil {
		return "", time.Time{}, err
	}
	expires = l.now().Add(l.life).UTC()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) >= maxLinks {
		l.list = slices.Delete(l.list, 0, 1)
	}
	l.list = append(l.list, link{digest: digest(token), id: id, expires: expires})
	return token, expires, nil
}

// Redeem gives who the link was made for, once; else ErrLink. Tokens are
// looked up by digest, so that comparing takes no time that tells anything.
func (l *Links) Redeem(token string) (Identity, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.list = slices.DeleteFunc(l.list, func(k link) bool { return !now.Before(k.expires) })
	want := digest(token)
	for i, k := range l.list {
		if k.digest == want {
			l.list = slices.Delete(l.list, i, i+1)
			return k.id, nil
		}
	}
	return Identity{}, ErrLink
}
