// Package tlscert keeps the console's own TLS certificate: made on first use,
// kept in the data folder, replaced before it expires.
//
// It is not a certificate authority: the certificate signs itself, and people
// compare its printed fingerprint once. The one idea: one file holds
// certificate and key together, so that the pair can never be torn apart by a
// crash between two writes.
package tlscert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Lifetimes. Browsers refuse server certificates that live longer than 398 days.
const (
	validity = 397 * 24 * time.Hour
	renewal  = 30 * 24 * time.Hour // before the end
)

// Keeper holds the certificate in use. Safe for concurrent use.
type Keeper struct {
	file  string
	names []string
	now   func() time.Time
	log   *slog.Logger

	mu   sync.Mutex
	cert *tls.Certificate
}

// Open loads the certificate kept in file, or makes one when there is none,
// when it is about to expire, or when it does not carry every one of names
// (host names and IP addresses). The file gets mode 0600.
func Open(file string, names []string, now func() time.Time, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{file: file, names: names, now: now, log: log}
	cert, err := k.load()
	switch {
	case err == nil && k.good(cert):
		k.cert = cert
		return k, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		log.Warn("replacing the console's certificate: the kept one cannot be read", "file", file, "cause", err)
	}
	return k, k.renew()
}

// Certificate gives the certificate in use, a new one when the old one is
// about to expire. It has the form of tls.Config.GetCertificate.
func (k *Keeper) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.good(k.cert) {
		if err := k.renew(); err != nil {
			// An old certificate is better than none; the browser will say so.
			k.log.Error("cannot renew the console's certificate", "file", k.file, "cause", err)
		}
	}
	return k.cert, nil
}

// Fingerprint is the SHA-256 digest of the certificate in the form browsers
// show: upper-case hex with colons.
func (k *Keeper) Fingerprint() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := sha256.Sum256(k.cert.Leaf.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

func (k *Keeper) good(cert *tls.Certificate) bool {
	if cert == nil || cert.Leaf == nil {
		return false
	}
	now := k.now()
	if now.Before(cert.Leaf.NotBefore) || now.Add(renewal).After(cert.Leaf.NotAfter) {
		return false
	}
	return !slices.ContainsFunc(k.names, func(name string) bool { return cert.Leaf.VerifyHostname(name) != nil })
}

func (k *Keeper) load() (*tls.Certificate, error) {
	data, err := os.ReadFile(k.file)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}

// renew makes a certificate, keeps it and uses it.
func (k *Keeper) renew() error {
	data, err := create(k.names, k.now())
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	k.cert = &cert
	if err := writeFile(k.file, data); err != nil {
		// A full disk must not keep people from looking; browsers will ask
		// again after the next start.
		k.log.Error("the certificate could not be kept; the next start makes another", "file", k.file, "err", err)
	}
	return nil
}

func create(names []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "Gabion console", Organization: []string{"Gabion (self-signed)"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(validity - time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// No basic constraints as a CA: whoever trusts this certificate trusts
		// this console and nothing it could sign.
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, addr.AsSlice())
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, b := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := pem.Encode(&out, b); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// writeFile replaces file as a whole, so that a crash leaves the old or the new.
func writeFile(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".console-cert-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
