package scenario

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/scenario/lab"
	"github.com/gabion-dev/gabion/scenario/stratum"
)

// build makes what both phases share: images, network, pool, the attacker's server.
func (s *story) build() (err error) {
	// What a crashed run has left; runs that are alive are not touched.
	if err := minicontainer.Clean(s.opts.StateDir); err != nil {
		s.opts.Log.Warn("leftovers of an earlier run remain", "error", err)
	}
	if err := os.MkdirAll(s.opts.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	cleanRuns(s.opts.Dir)
	if s.dir, err = makeRunDir(s.opts.Dir); err != nil {
		return err
	}
	if s.cred.token, err = newNonce(); err != nil {
		return err
	}
	if s.cred.secret, err = newNonce(); err != nil {
		return err
	}
	all := services()
	if s.images, err = buildImages(filepath.Join(s.dir, "images"), s.opts.Binary, all, hostsFile(all), s.cred); err != nil {
		return err
	}
	if s.net, err = lab.New(netip.MustParseAddr(gatewayAddr), netip.MustParseAddr(gatewayAddr6)); err != nil {
		return err
	}
	if s.attacker, err = s.attach("attacker", attackerAddr, attackerAddr6); err != nil {
		return err
	}
	if s.users, err = s.attach("users", edgeAddr, officeAddr, edgeAddr6); err != nil {
		return err
	}
	pool, err := s.attach("pool", poolAddr, poolAddr6)
	if err != nil {
		return err
	}
	if err := s.openPool(pool); err != nil {
		return err
	}
	return s.serveDownloads()
}

func (s *story) attach(name string, addrs ...string) (*lab.Place, error) {
	list := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		list[i] = netip.MustParseAddr(a)
	}
	return s.net.Attach(name, list...)
}

// hostsFile is all the name resolution there is.
func hostsFile(all []service) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	fmt.Fprintf(&b, "%s %s\n", poolAddr, poolName)
	for _, svc := range all {
		fmt.Fprintf(&b, "10.88.0.%d %s\n", svc.number, svc.name)
	}
	return b.String()
}

func (s *story) openPool(place *lab.Place) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	for _, door := range []struct {
		address string
		carrier stratum.Carrier
		tls     bool
	}{{"[::]:3333", stratum.Lines, false}, {"[::]:443", stratum.Lines, true}, {"[::]:80", stratum.WebSocket, false}} {
		l, err := place.Listen("tcp", door.address)
		if err != nil {
			return fmt.Errorf("open pool: %w", err)
		}
		if door.tls {
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		}
		if err := s.pool.Serve(l, door.carrier); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{poolName}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// serveDownloads is the attacker's server: it hands out this executable.
func (s *story) serveDownloads() error {
	l, err := s.attacker.Listen("tcp", net.JoinHostPort(attackerAddr, "80"))
	if err != nil {
		return fmt.Errorf("open attacker's server: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /kworker", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, s.opts.Binary) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	s.servers.Go(func() { _ = srv.Serve(l) }) // ends with ErrServerClosed
	s.closers = append(s.closers, func() { srv.Close() })
	return nil
}
