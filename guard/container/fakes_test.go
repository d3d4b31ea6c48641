package container

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// serve answers HTTP on a socket as a container runtime would.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gabiontest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(srv.Close)
	return socket
}

// TestPodmanDialect: Podman's service answers like Docker's but for some forms.
func TestPodmanDialect(t *testing.T) {
	c := mini(t, nil)
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, format string, args ...any) { fmt.Fprintf(w, format, args...) }
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { say(w, `{"Version":"4.3.1"}`) })
	mux.HandleFunc("GET /containers/json", func(w http.ResponseWriter, _ *http.Request) {
		say(w, `[{"Id":%q,"Names":["/web"],"Image":"docker.io/library/web:1","ImageID":%q,"State":"running","Labels":null}]`, c.ID(), idB)
	})
	mux.HandleFunc("GET /containers/{id}/json", func(w http.ResponseWriter, _ *http.Request) {
		say(w, `{"Id":%q,"Name":"/web","Path":"sleep","Args":["1000"],"Image":%q,"State":{"Running":true,"Pid":%d},"Config":{"Image":"docker.io/library/web:1"}}`, c.ID(), idB, c.PID())
	})
	mux.HandleFunc("GET /images/{id}/json", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	end := make(chan struct{})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-end:
			say(w, `{"Type":"container","Action":"died","Actor":{"ID":%q}}`+"\n", c.ID())
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case <-r.Context().Done():
		}
	})
	cfg := nowhere()
	cfg.Sweep = time.Hour // only the event tells
	cfg.Podman = []string{serve(t, mux)}
	d := discover(t, cfg)
	r := running(t, d)
	got := r.await(t, c.ID())
	if got.Runtime != "podman" || got.Name != "web" || got.ImageDigest != "sha256:"+idB || got.PID != c.PID() {
		t.Errorf("container %+v", got)
	}
	id, ok, err := discover(t, cfg).Identify(context.Background(), c.PID(), 0)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := same(id, got); err != nil {
		t.Error(err)
	}
	if err := c.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	close(end)
	r.awaitGone(t, c.ID())
}

// TestRuntimeThatHangs must neither hold up Identify for long nor hide a
// container that clearly is one.
func TestRuntimeThatHangs(t *testing.T) {
	c := mini(t, nil)
	socket := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	cfg := nowhere()
	cfg.Docker = []string{socket}
	d := discover(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, ok, err := d.Identify(ctx, c.PID(), 0)
	if err != nil || !ok || got.ID != c.ID() || got.Runtime != "namespaces" || got.CgroupID != c.CgroupID() {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if ctx.Err() != nil {
		t.Error("it waited for the runtime")
	}
}

// TestRuntimeThatBabbles: what cannot be understood is an error with the cause,
// and the other runtimes go on.
func TestRuntimeThatBabbles(t *testing.T) {
	for name, answer := range map[string]string{
		"no json": "hello", "wrong types": `[{"Id":1}]`, "cut off": `[{"Id":"a`, "an object": `{}`, "endless": "[" + strings.Repeat(" ", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			socket := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
			cfg := nowhere()
			cfg.Docker = []string{socket}
			d := discover(t, cfg)
			if list, err := d.sources[0].List(context.Background()); err == nil {
				t.Errorf("no error: %v", list)
			}
			r := running(t, d)
			testkit.Eventually(t, "the fault is reported", func() bool { st := d.Status()[0]; return st.Health == Failed && st.Detail != "" })
			if len(r.of(idA)) != 0 {
				t.Error("news of it")
			}
		})
	}
	t.Run("refuses", func(t *testing.T) {
		socket := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not today", http.StatusForbidden) }))
		cfg := nowhere()
		cfg.Docker = []string{socket}
		f := discover(t, cfg).Probe(context.Background())[0]
		if f.Works || !strings.Contains(f.Detail, "403") || !strings.Contains(f.Detail, "not today") {
			t.Errorf("%+v", f)
		}
	})
}
