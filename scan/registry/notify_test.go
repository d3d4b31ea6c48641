package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestRealNotifications: a real registry tells of a push, with the shared
// secret, and the image is examined.
func TestRealNotifications(t *testing.T) {
	secret := strings.Repeat("n0tify", 4)
	m := newMemory()
	// The registry must know the receiver and the sweeper the registry.
	var hook atomic.Pointer[Hook]
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hook.Load().ServeHTTP(w, r) }))
	defer receiver.Close()
	reg := testkit.StartRegistry(t, fmt.Sprintf("notifications:\n  endpoints:\n    - name: gabion\n      url: %s\n      headers:\n        Authorization: [Bearer %s]\n      timeout: 5s\n      threshold: 5\n      backoff: 100ms\n", receiver.URL, secret))
	s := newSweeper(t, Target{Registry: reg.Host, PlainHTTP: true, Schedule: "@daily"}, Deps{Results: m})
	h, err := NewHook(secret, s.Push, nil)
	if err != nil {
		t.Fatal(err)
	}
	hook.Store(h)
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error)
	go func() { end <- s.Run(ctx) }()
	img := must[v1.Image](t)(random.Image(500, 2))
	push(t, reg.Host+"/team/pushed:1", img)
	testkit.Eventually(t, "the pushed image is examined", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.reports[digestOf(t, img)] != nil
	})
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
