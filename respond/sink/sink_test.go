package sink_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/respond/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inbox is what a receiver got, in order.
type inbox struct {
	mu  sync.Mutex
	ids []string
	raw []string
}

func (i *inbox) add(id, raw string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ids, i.raw = append(i.ids, id), append(i.raw, raw)
}

func (i *inbox) got() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.ids)
}

// receiver is a real listener that can be stopped and started again.
type receiver struct {
	*inbox
	name   string
	action v1alpha1.NotifyAction
	start  func() (stop func())
}

const secret = "correct horse"

func receivers(t *testing.T) []receiver {
	t.Helper()
	dir := t.TempDir()
	secretFile := filepath.Join(dir, "secret")
	if err := os.WriteFile(secretFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	caFile, cert := certificate(t, dir)
	var hook, tcp, sec inbox
	hookAt, tcpAt, tlsAt := freeAddress(t), freeAddress(t), freeAddress(t)
	return []receiver{
		{&hook, "webhook", v1alpha1.NotifyAction{Webhook: &v1alpha1.WebhookSink{URL: "http://" + hookAt + "/hook?token=x", SecretFile: secretFile}},
			func() func() { return serveHook(t, hookAt, &hook) }},
		{&tcp, "syslog tcp", v1alpha1.NotifyAction{Syslog: &v1alpha1.SyslogSink{Address: tcpAt}},
			func() func() { return serveSyslog(t, tcpAt, nil, &tcp) }},
		{&sec, "syslog tls", v1alpha1.NotifyAction{Syslog: &v1alpha1.SyslogSink{Address: tlsAt, Network: v1alpha1.SyslogTLS, CAFile: caFile}},
			func() func() { return serveSyslog(t, tlsAt, &tls.Config{Certificates: []tls.Certificate{cert}}, &sec) }},
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate makes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T, dir string) (caFile string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "log"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	until(t, "listening on "+addr, func() bool {
		var err error
		l, err = net.Listen("tcp", addr)
		return err == nil
	})
	return l
}

// serveHook checks the signature of every request.
func serveHook(t *testing.T, addr string, in *inbox) (stop func()) {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e event.Event
		if err != nil || json.Unmarshal(body, &e) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if got, want := r.Header.Get(sink.HeaderSignature), sink.Sign([]byte(secret), r.Header.Get(sink.HeaderTimestamp), body); got != want {
			t.Errorf("signature %q, want %q", got, want)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if r.Header.Get("Content-Type") != "application/json" || r.Header.Get(sink.HeaderEvent) != e.ID {
			t.Errorf("headers %v", r.Header)
		}
		in.add(e.ID, string(body))
	})}
	l := listen(t, addr)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	return func() { _ = srv.Close(); <-done }
}

// serveSyslog reads messages framed by octet counting.
func serveSyslog(t *testing.T, addr string, cfg *tls.Config, in *inbox) (stop func()) {
	l := listen(t, addr)
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := []net.Conn{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					n, err := r.ReadString(' ')
					if err != nil {
						return
					}
					size, err := strconv.Atoi(strings.TrimSuffix(n, " "))
					if err != nil {
						t.Errorf("frame begins with %q", n)
						return
					}
					msg := make([]byte, size)
					if _, err := io.ReadFull(r, msg); err != nil {
						return
					}
					in.add(field(string(msg), "id"), string(msg))
				}
			})
		}
	})
	return func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	}
}

// field reads a parameter of the structured data.
func field(msg, name string) string {
	_, rest, _ := strings.Cut(msg, " "+name+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func ev(id string) event.Event {
	return event.Event{ID: id, Kind: event.ProcessExec, Last: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Count: 1, Severity: event.High, Message: "Blocked " + id + "."}
}

func quick(int) time.Duration { return 5 * time.Millisecond }

func open(t *testing.T, a v1alpha1.NotifyAction, cfg sink.Config) *sink.Queue {
	t.Helper()
	q, err := sink.Open(a, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// TestConformance asks the same of every sink that can tell a dead receiver.
func TestConformance(t *testing.T) {
	for _, r := range receivers(t) {
		t.Run(r.name, func(t *testing.T) {
			stop := r.start()
			var lost []uint64
			var mu sync.Mutex
			q := open(t, r.action, sink.Config{Backoff: quick, Attempts: 1000, OnLoss: func(_ string, n uint64, _ error) {
				mu.Lock()
				defer mu.Unlock()
				lost = append(lost, n)
			}})
			var want []string
			send := func(ids ...string) {
				for _, id := range ids {
					q.Deliver(ev(id))
					want = append(want, id)
				}
			}
			send("a", "b", "c")
			until(t, "three in order", func() bool { return slices.Equal(r.got(), want) })
			if strings.Contains(q.Name(), "token") {
				t.Errorf("name %q shows a secret", q.Name())
			}

			stop() // the receiver goes away; events wait
			send("d", "e")
			until(t, "attempts", func() bool { return q.Stats().Retried > 2 })
			stop = r.start()
			until(t, "delivery after the receiver came back", func() bool { return len(r.got()) >= 5 })
			if got := r.got(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			send("f")
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if got := r.got(); !slices.Equal(got, want) {
				until(t, "what was sent before Close", func() bool { return slices.Equal(r.got(), want) })
			}
			stop()
			if st := q.Stats(); st.Delivered != 6 || st.Lost != 0 || len(lost) != 0 {
				t.Errorf("stats %+v, lost %v", st, lost)
			}
			q.Deliver(ev("late"))
			if st := q.Stats(); st.Lost != 1 {
				t.Errorf("an event after Close is not counted: %+v", st)
			}
		})
	}
}

// TestDeadReceiver has nobody listen at all.
func TestDeadReceiver(t *testing.T) {
	for _, r := range receivers(t) {
		t.Run(r.name, func(t *testing.T) {
			var mu sync.Mutex
			var last uint64
			var cause error
			q := open(t, r.action, sink.Config{Capacity: 2, Backoff: quick, Attempts: 3, Drain: 200 * time.Millisecond, OnLoss: func(_ string, n uint64, err error) {
				mu.Lock()
				defer mu.Unlock()
				last, cause = max(last, n), err
			}})
			for i := range 50 { // never blocks
				q.Deliver(ev(fmt.Sprint(i)))
			}
			_ = q.Close()
			mu.Lock()
			defer mu.Unlock()
			if last != 50 || q.Stats().Lost != 50 || cause == nil {
				t.Errorf("lost %d of 50, told %d (%v)", q.Stats().Lost, last, cause)
			}
		})
	}
}

func TestWebhookAnswers(t *testing.T) {
	codes := map[int]struct{ retried, permanent bool }{
		200: {}, 204: {}, 302: {permanent: true}, 400: {permanent: true}, 401: {permanent: true}, 410: {permanent: true},
		408: {retried: true}, 429: {retried: true}, 500: {retried: true}, 503: {retried: true},
	}
	for code, want := range codes {
		l := listen(t, "127.0.0.1:0")
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Errorf("a redirect was followed to %s", r.URL)
			}
			if r.Header.Get(sink.HeaderSignature) != "" {
				t.Error("signed without a secret")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		})}
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(l) }()
		w, err := sink.NewWebhook("http://"+l.Addr().String()+"/", "")
		if err != nil {
			t.Fatal(err)
		}
		err = w.Send(t.Context(), ev("a"))
		if (err != nil) != (want.retried || want.permanent) || errors.Is(err, sink.ErrPermanent) != want.permanent {
			t.Errorf("answer %d gave %v", code, err)
		}
		_ = w.Close()
		_ = srv.Close()
		<-done
	}
}

func TestSyslogUDP(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := open(t, v1alpha1.NotifyAction{Syslog: &v1alpha1.SyslogSink{Address: c.LocalAddr().String(), Network: v1alpha1.SyslogUDP}}, sink.Config{})
	q.Deliver(ev("a"))
	buf := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := c.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if msg := string(buf[:n]); !strings.HasPrefix(msg, "<107>1 2026-11-24T12:00:00.000000Z ") || field(msg, "id") != "a" {
		t.Errorf("datagram %q", msg)
	}
}

func TestFormatSyslog(t *testing.T) {
	e := ev("x")
	e.Severity = event.Critical
	e.Path = `/tmp/a"b]c\d` + "\nforged <0>1"
	e.Message = "Blocked\r\n<34>1 forged\x00 ü"
	e.Rule = &event.RuleRef{Policy: "WorkloadPolicy/shop/checkout", Field: "spec.process"}
	got := sink.FormatSyslog(e, "node one")
	want := "<106>1 2026-11-24T12:00:00.000000Z node_one gabion - process.exec [gabion@32473 id=\"x\" count=\"1\" severity=\"critical\"" +
		` path="/tmp/a\"b\]c\\d forged <0>1" rule="WorkloadPolicy/shop/checkout spec.process"] ` + "\ufeffBlocked  <34>1 forged  ü"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	e.Message = strings.Repeat("ü", 5000)
	if got := sink.FormatSyslog(e, "h"); len(got) > 2048 || !strings.HasSuffix(got, "ü") {
		t.Errorf("%d bytes, ending %q", len(got), got[len(got)-5:])
	}
}

func FuzzFormatSyslog(f *testing.F) {
	f.Add("id", "message", "host", "kind", "/path")
	f.Add("\"]\\", "a\nb", "", "\x00", "\xff")
	f.Fuzz(func(t *testing.T, id, message, host, kind, path string) {
		e := event.Event{ID: id, Message: message, Kind: event.Kind(kind), Path: path}
		msg := sink.FormatSyslog(e, host)
		if len(msg) > 2048 || strings.ContainsAny(msg, "\n\r\x00") || strings.Count(strings.SplitN(msg, "[gabion@", 2)[0], " ") != 6 {
			t.Errorf("%q", msg)
		}
	})
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	f, err := sink.NewFile(path, 1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(p string) []string {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for line := range strings.Lines(string(data)) {
			var e event.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			ids = append(ids, e.ID)
		}
		return ids
	}
	var sent []string
	for i := range 40 {
		id := fmt.Sprint("e", i)
		sent = append(sent, id)
		if err := f.Send(context.Background(), ev(id)); err != nil {
			t.Fatal(err)
		}
	}
	kept := slices.Concat(read(path+".2"), read(path+".1"), read(path))
	if !slices.Equal(kept, sent[len(sent)-len(kept):]) || len(kept) < 8 {
		t.Errorf("kept %q", kept)
	}
	if _, err := os.Stat(path + ".3"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("more than two older files: %v", err)
	}
	for _, p := range []string{path, path + ".1"} {
		if st, err := os.Stat(p); err != nil || st.Size() > 1000 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, st, err)
		}
	}
	// Someone else rotates it away.
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := f.Send(context.Background(), ev("after")); err != nil {
		t.Fatal(err)
	}
	if got := read(path); !slices.Equal(got, []string{"after"}) {
		t.Errorf("after a move: %q", got)
	}
}

func TestFileRefusesLinksAndPipes(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{link, dir, "/dev/null"} {
		f, err := sink.NewFile(p, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Send(context.Background(), ev("a")); err == nil {
			t.Errorf("wrote to %s", p)
		}
		_ = f.Close()
	}
	if _, err := sink.NewFile("relative", 0, 0); err == nil {
		t.Error("a relative path was taken")
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, a := range []v1alpha1.NotifyAction{
		{},
		{Webhook: &v1alpha1.WebhookSink{URL: "ftp://x"}},
		{Webhook: &v1alpha1.WebhookSink{URL: "http://"}},
		{Syslog: &v1alpha1.SyslogSink{Address: "nohost"}},
		{Syslog: &v1alpha1.SyslogSink{Address: "a:1", Network: "carrier-pigeon"}},
		{File: &v1alpha1.FileSink{Path: "x"}},
	} {
		if q, err := sink.Open(a, sink.Config{}); err == nil {
			_ = q.Close()
			t.Errorf("%+v was taken", a)
		}
	}
}

func TestEmptySecretIsNoSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(path, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := sink.NewWebhook("http://127.0.0.1:1/", path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Send(t.Context(), ev("a")); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("Send gave %v", err)
	}
}
