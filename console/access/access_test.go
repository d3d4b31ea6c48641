package access

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/fleet/store"
)

func TestRoles(t *testing.T) {
	order := []Role{Public, Viewer, Operator, Admin}
	for i, have := range order {
		for j, need := range order {
			if got, want := have.Covers(need), i >= j; got != want {
				t.Errorf("%s covers %s: %v, want %v", have, need, got, want)
			}
		}
	}
	for _, odd := range []Role{"", "root", "Admin"} {
		if odd.Valid() || odd.Covers(Viewer) || Admin.Covers(odd) {
			t.Errorf("%q counts as a role", odd)
		}
	}
}

func TestPasswords(t *testing.T) {
	a, err := hashPassword(rand.Reader, "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hashPassword(rand.Reader, "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("two hashes of one password are equal: the salt does nothing")
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("form is %s", a)
	}
	if !passwordMatches(a, "correct horse battery") || passwordMatches(a, "correct horse batterz") || passwordMatches(a, "") {
		t.Error("matching is wrong")
	}
	for _, bad := range []string{
		"", "plain", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5a2V5",
		"$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5a2V5", "$argon2id$v=19$m=0,t=0,p=0$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5a2V5",
	} {
		if passwordMatches(bad, "x") {
			t.Errorf("%q matches", bad)
		}
	}
}

// FuzzPasswordMatches: whatever is stored, reading it must not fail badly.
func FuzzPasswordMatches(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5a2V5", "x")
	f.Add("$$$$$", "")
	f.Fuzz(func(t *testing.T, phc, password string) {
		if strings.Contains(phc, "m=") && len(phc) > 24 {
			return // real costs take real time
		}
		passwordMatches(phc, password)
	})
}

func TestLinks(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := NewLinks(15*time.Minute, func() time.Time { return now }, rand.Reader)
	want := Identity{Name: "local admin", Role: Admin}
	token, expires, err := l.Mint(want)
	if err != nil || !expires.Equal(now.Add(15*time.Minute)) || len(token) != 32 {
		t.Fatalf("mint: %q %v %v", token, expires, err)
	}
	for _, bad := range []string{"", token[:31], strings.ToUpper(token), strings.Repeat("0", 32)} {
		if _, err := l.Redeem(bad); !errors.Is(err, ErrLink) {
			t.Errorf("redeem %q: %v", bad, err)
		}
	}
	if id, err := l.Redeem(token); err != nil || id != want {
		t.Errorf("redeem: %v %v", id, err)
	}
	if _, err := l.Redeem(token); !errors.Is(err, ErrLink) {
		t.Errorf("second redeem: %v", err)
	}
	first, _, err := l.Mint(want)
	if err != nil {
		t.Fatal(err)
	}
	for range maxLinks {
		if _, _, err := l.Mint(want); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Redeem(first); !errors.Is(err, ErrLink) {
		t.Errorf("the oldest of too many links still works: %v", err)
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := NewLimiter(3, time.Minute, func() time.Time { return now })
	for range 3 {
		if w := l.Wait("a"); w != 0 {
			t.Fatalf("waits %s before the limit", w)
		}
		l.Fail("a")
	}
	if w := l.Wait("a"); w != time.Minute {
		t.Errorf("waits %s, want a minute", w)
	}
	if w := l.Wait("b"); w != 0 {
		t.Errorf("another key waits %s", w)
	}
	now = now.Add(time.Minute)
	if w := l.Wait("a"); w != 0 {
		t.Errorf("waits %s after the window", w)
	}
	for i := range maxKeys + 100 {
		now = now.Add(time.Millisecond)
		l.Fail(string(rune(i)) + "key")
	}
	if n := len(l.keys); n > maxKeys {
		t.Errorf("%d keys are kept, at most %d", n, maxKeys)
	}
	l.Fail("c")
	l.Clear("c")
	if _, ok := l.keys["c"]; ok {
		t.Error("a cleared key is kept")
	}
}

func TestSweep(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	docs := store.NewMemory(clock)
	users, err := NewUsers(docs, clock, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSessions(docs, users, Lifetimes{Idle: time.Hour, Absolute: 2 * time.Hour}, clock, rand.Reader)
	ctx := context.Background()
	old, err := s.OpenLink(ctx, Identity{Name: "a", Role: Viewer}, "local")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(45 * time.Minute)
	young, err := s.OpenLink(ctx, Identity{Name: "b", Role: Viewer}, "local")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(30 * time.Minute)
	if err := docs.Put(ctx, "console-session", "damaged", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	left, err := docs.Documents(ctx, "console-session")
	if err != nil || len(left) != 1 {
		t.Errorf("%d sessions are left, want the young one: %v", len(left), err)
	}
	if _, err := s.Find(ctx, old, true); !errors.Is(err, ErrNoSession) {
		t.Errorf("old session: %v", err)
	}
	if id, err := s.Find(ctx, young, true); err != nil || id.Name != "b" {
		t.Errorf("young session: %v %v", id, err)
	}
	for _, bad := range []string{"", "short", young + "x"} {
		if _, err := s.Find(ctx, bad, true); !errors.Is(err, ErrNoSession) {
			t.Errorf("find %q: %v", bad, err)
		}
	}
}

func TestTooManyUsers(t *testing.T) {
	docs := store.NewMemory(time.Now)
	users, err := NewUsers(docs, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for i := range maxUsers {
		if err := users.write(ctx, userDoc{User: User{Name: "u" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + string(rune('a'+i/26)), Role: Viewer}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := users.Create(ctx, "one-more", "a long password", Viewer); !errors.Is(err, ErrInvalid) {
		t.Errorf("user %d: %v", maxUsers+1, err)
	}
}
