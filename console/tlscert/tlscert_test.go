package tlscert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var names = []string{"localhost", "127.0.0.1", "::1", "dock-1"}

func open(t *testing.T, file string, names []string, now func() time.Time) *Keeper {
	t.Helper()
	k, err := Open(file, names, now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOpenKeepsAndRenews(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.pem")
	now := time.Now()
	clock := func() time.Time { return now }
	first := open(t, file, names, clock).Fingerprint()
	if !regexp.MustCompile(`^([0-9A-F]{2}:){31}[0-9A-F]{2}$`).MatchString(first) {
		t.Errorf("fingerprint %q", first)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600: the key is in it", st.Mode(), err)
	}
	if again := open(t, file, names, clock).Fingerprint(); again != first {
		t.Error("a good certificate was replaced")
	}
	if wider := open(t, file, append(names, "console.internal"), clock).Fingerprint(); wider == first {
		t.Error("a certificate without the new name was kept")
	}

	k := open(t, file, names, clock)
	before := k.Fingerprint()
	now = now.Add(validity - renewal - 2*time.Hour)
	if _, err := k.Certificate(nil); err != nil || k.Fingerprint() != before {
		t.Errorf("replaced too early: %v", err)
	}
	now = now.Add(3 * time.Hour)
	if _, err := k.Certificate(nil); err != nil || k.Fingerprint() == before {
		t.Errorf("not replaced a month before its end: %v", err)
	}

	if err := os.WriteFile(file, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := Open(file, names, clock, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "cannot be read") {
		t.Errorf("a damaged file: %v, log %q", err, log.String())
	}
}

// A real handshake with a client that trusts exactly this certificate.
func TestHandshake(t *testing.T) {
	k := open(t, filepath.Join(t.TempDir(), "c.pem"), names, time.Now)
	cert, err := k.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	for _, name := range names {
		server, client := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- tls.Server(server, &tls.Config{GetCertificate: k.Certificate}).Handshake() }()
		if err := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: name}).Handshake(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: server: %v", name, err)
		}
		server.Close()
		client.Close()
	}
	if cert.Leaf.IsCA {
		t.Error("the certificate could sign others")
	}
}

func TestACertificateThatCannotBeKeptStillServes(t *testing.T) {
	k, err := Open(filepath.Join(t.TempDir(), "missing", "console.pem"), []string{"localhost"}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := k.Certificate(nil); err != nil || cert == nil || k.Fingerprint() == "" {
		t.Errorf("no certificate in memory: %v, %v", cert, err)
	}
}
