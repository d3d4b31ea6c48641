package access

import (
	"sync"
	"time"
)

// Limiter bounds failed attempts per key (an address, a user's name) within a
// window. It never grows beyond maxKeys: when full, the key whose window is
// oldest is forgotten.
type Limiter struct {
	now    func() time.Time
	most   int
	window time.Duration

	mu   sync.Mutex
	keys map[string]attempts
}

const maxKeys = 4096

type attempts struct {
	count int
	began time.Time
}

// NewLimiter allows most failures within window for each key.
func NewLimiter(most int, window time.Duration, now func() time.Time) *Limiter {
	return &Limiter{now: now, most: most, window: window, keys: map[string]attempts{}}
}

// Wait says how long a key has to wait before its next attempt; 0: not at all.
func (l *Limiter) Wait(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.keys[key]
	if !ok {
		return 0
	}
	left := l.window - l.now().Sub(a.began)
	if left <= 0 {
		delete(l.keys, key)
		return 0
	}
	if a.count < l.most {
		return 0
	}
	return left
}

// Fail counts a failed attempt.
func (l *Limiter) Fail(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	a, ok := l.keys[key]
	if !ok || now.Sub(a.began) >= l.window {
		a = attempts{began: now}
	}
	a.count++
	if !ok && len(l.keys) >= maxKeys {
		oldest, began := "", now
		for k, v := range l.keys {
			if oldest == "" || v.began.Before(began) {
				oldest, began = k, v.began
			}
		}
		delete(l.keys, oldest)
	}
	l.keys[key] = a
}

// Clear forgets the failures of a key after a success.
func (l *Limiter) Clear(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}
