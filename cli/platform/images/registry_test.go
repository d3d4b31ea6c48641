package images

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
)

// health remembers what Run said last.
type health struct{ said chan string }

func (h health) Ready()                 { h.say("") }
func (h health) Degraded(reason string) { h.say(reason) }
func (h health) say(s string) {
	select {
	case h.said <- s:
	default:
	}
}

// push puts an image with one Alpine package into a registry.
func push(t *testing.T, ref, version string) {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for path, text := range map[string]string{
		"etc/os-release":       "ID=alpine\nVERSION_ID=3.19.1\nPRETTY_NAME=\"Alpine Linux v3.19\"\n",
		"lib/apk/db/installed": "P:openssl\nV:" + version + "\nA:x86_64\nL:Apache-2.0\no:openssl\n\n",
	} {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.ConfigFile(img, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Config: v1.Config{User: "1000"}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{mustDiffID(t, l)}}}); err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, img); err != nil {
		t.Fatal(err)
	}
}

func mustDiffID(t *testing.T, l v1.Layer) v1.Hash {
	t.Helper()
	h, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// buildDatabase writes advisories about openssl that are fixed in the versions.
func buildDatabase(t *testing.T, file string, fixed map[string]string) {
	t.Helper()
	b := vuln.NewBuilder(vuln.Options{})
	b.Source(scan.Source{Name: "test", Licence: "CC0-1.0"})
	for id, v := range fixed {
		if err := b.Add(vuln.Record{ID: id, Source: "test", Severity: scan.Critical, Affected: []vuln.Affected{{
			Ecosystem: "Alpine:v3.19", Name: "openssl", Ranges: []vuln.Range{{Fixed: v}},
		}}}); err != nil {
			t.Fatal(err)
		}
	}
	tmp := file + ".new"
	if _, err := b.Write(tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, file); err != nil {
		t.Fatal(err)
	}
}

// TestARealRegistry follows a registry with the scanner of this program: a sweep
// finds an image, a push another, and a new database judges both again without
// asking the registry for anything.
func TestARealRegistry(t *testing.T) {
	requests := make(chan string, 10_000)
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	reg := httptest.NewServer(recordRequests(inner, requests))
	defer reg.Close()
	host := strings.TrimPrefix(reg.URL, "http://")
	push(t, host+"/shop/web:1", "3.1.4-r0")

	dir := t.TempDir()
	file := dir + "/advisories.db"
	buildDatabase(t, file, map[string]string{"CVE-2026-0001": "3.1.4-r5"})
	scanner, err := NewReal("gabion test", dir, file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := scanner.Close(); err != nil {
			t.Error(err)
		}
	}()
	b := newBench(t, Config{}, nil)
	b.d.Scanner, b.d.Now = scanner, time.Now
	b.cfg.Every = 20 * time.Millisecond
	doc := scanTarget("shop", "critical")
	doc.Spec.Registry, doc.Spec.Schedule = host, "@daily"
	doc.Spec.TLS, doc.Spec.Credentials = &v1alpha1.RegistryTLS{PlainHTTP: true}, &v1alpha1.RegistryCredentials{Anonymous: true}
	doc.Spec.Webhook = &v1alpha1.ScanWebhook{SecretEnv: "HOOK"}
	b.SetTargets([]*v1alpha1.ScanTarget{doc})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	h := health{make(chan string, 100)}
	go func() { done <- b.Run(ctx, h) }()
	defer func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("ended with %v", err)
		}
	}()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				list, _ := b.Images(ctx)
				targets, _ := b.ScanTargets(ctx)
				t.Fatalf("%s: never; images %+v, targets %+v", what, list, targets)
			}
		}
	}
	criticals := func() (images, findings int) {
		list, err := b.Images(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			findings += i.Open.Critical
		}
		return len(list), findings
	}
	wait("the sweep", func() bool { n, f := criticals(); return n == 1 && f == 1 })
	wait("the end of the sweep", func() bool { list, _ := b.ScanTargets(ctx); return len(list) == 1 && list[0].State == "waiting" })
	list, _ := b.Images(ctx)
	if i := list[0]; !i.Complete || i.Violations != 1 || i.Names[0] != host+"/shop/web:1" || i.System != "Alpine Linux v3.19" {
		t.Errorf("image %+v", i)
	}

	push(t, host+"/shop/db:1", "3.1.4-r9")
	req := httptest.NewRequest("POST", "/", strings.NewReader(`{"events":[{"action":"push","target":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","repository":"shop/db","tag":"1"}}]}`))
	req.Header.Set("Authorization", strings.Repeat("s", 20))
	rec := httptest.NewRecorder()
	b.Hook("shop").ServeHTTP(rec, req)
	if rec.Code != 202 {
		t.Fatalf("push: %d %s", rec.Code, rec.Body)
	}
	wait("the push", func() bool { n, f := criticals(); return n == 2 && f == 1 })

	for len(requests) > 0 {
		<-requests
	}
	buildDatabase(t, file, map[string]string{"CVE-2026-0001": "3.1.4-r5", "CVE-2026-0002": "3.2.0-r0"})
	wait("the new database", func() bool { _, f := criticals(); return f == 3 })
	if n := len(requests); n != 0 {
		t.Errorf("the registry was asked %d times, first %s", n, <-requests)
	}

	for len(h.said) > 0 {
		<-h.said
	}
	if why := <-h.said; why != "" {
		t.Errorf("not well: %s", why)
	}
	reg.Close()
	b.SetTargets(nil)
	wait("the end of the target", func() bool { list, _ := b.ScanTargets(ctx); return len(list) == 0 })
}

// recordRequests tells of every request before it is answered.
func recordRequests(next http.Handler, to chan<- string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case to <- r.Method + " " + r.URL.Path:
		default:
		}
		next.ServeHTTP(w, r)
	})
}
