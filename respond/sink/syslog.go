package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gabion-dev/gabion/event"
)

// Syslog sends events as RFC 5424 messages: over TCP with octet counting (RFC
// 6587), over TLS the same way (RFC 5425), or one a datagram over UDP (RFC 5426).
type Syslog struct {
	address, network, caFile string
	host                     string // ours
	conn                     net.Conn
}

var _ Sender = (*Syslog)(nil)

// NewSyslog makes a sender for "host:port"; network is tcp (also when empty),
// tls or udp; caFile may be empty: then the system's certificates count.
func NewSyslog(address, network, caFile string) (*Syslog, error) {
	if network == "" {
		network = "tcp"
	}
	if network != "tcp" && network != "tls" && network != "udp" {
		return nil, fmt.Errorf("open syslog: there is no network %q; use tcp, tls or udp", network)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("open syslog: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "-"
	}
	return &Syslog{address: address, network: network, caFile: caFile, host: host}, nil
}

// Name implements Sender.
func (s *Syslog) Name() string { return "syslog " + s.network + "://" + s.address }

// Send implements Sender.
func (s *Syslog) Send(ctx context.Context, e event.Event) error {
	if err := s.send(ctx, e); err != nil {
		_ = s.Close() // the next attempt connects anew
		return fmt.Errorf("send to %s: %w", s.Name(), err)
	}
	return nil
}

func (s *Syslog) send(ctx context.Context, e event.Event) error {
	if s.conn != nil && s.network != "udp" && gone(s.conn) {
		_ = s.Close()
	}
	if s.conn == nil {
		conn, err := s.dial(ctx)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	if d, ok := ctx.Deadline(); ok {
		if err := s.conn.SetWriteDeadline(d); err != nil {
			return err
		}
	}
	msg := FormatSyslog(e, s.host)
	if s.network != "udp" {
		msg = strconv.Itoa(len(msg)) + " " + msg
	}
	_, err := io.WriteString(s.conn, msg)
	return err
}

func (s *Syslog) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if s.network != "tls" {
		return d.DialContext(ctx, s.network, s.address)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates: %s holds none", s.caFile)
		}
	}
	return (&tls.Dialer{NetDialer: &d, Config: cfg}).DialContext(ctx, "tcp", s.address)
}

// gone reports whether the receiver has hung up. Syslog has no answers, and the
// first write after a hang-up would succeed and be lost.
func gone(c net.Conn) bool {
	if c.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return true
	}
	var b [1]byte
	_, err := c.Read(b[:])
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// Close implements Sender.
func (s *Syslog) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

const (
	facility   = 13   // log audit
	maxMessage = 2048 // bytes: what every receiver must take (RFC 5425 4.3.1)
	// enterprise is the number set aside for documentation (RFC 5612): receivers
	// tell our fields by the name before it.
	enterprise = "gabion@32473"
)

// FormatSyslog writes e as one RFC 5424 message of at most 2,048 bytes: the
// fields that machines look for as structured data, the sentence as text.
func FormatSyslog(e event.Event, host string) string {
	level := []int{6, 5, 4, 3, 2}[e.Severity.Rank()] // informational ... critical
	var b strings.Builder
	stamp := "-"
	if !e.Last.IsZero() {
		stamp = e.Last.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	fmt.Fprintf(&b, "<%d>1 %s %s gabion - %s [%s", facility*8+level, stamp, token(host, 255), token(string(e.Kind), 32), enterprise)
	rule := ""
	if e.Rule != nil {
		rule = e.Rule.Policy + " " + e.Rule.Field
	}
	workload := ""
	if !e.Workload.IsZero() {
		workload = e.Workload.String()
	}
	for _, p := range [][2]string{
		{"id", e.ID}, {"count", strconv.FormatUint(e.Count, 10)}, {"severity", string(e.Severity)}, {"effect", string(e.Effect)},
		{"node", e.Node}, {"workload", workload}, {"container", e.ContainerID}, {"path", e.Path}, {"rule", rule},
		{"reasons", strings.Join(e.Reasons, ",")}, {"technique", strings.Join(e.Technique, ",")}, {"actor", e.Actor},
	} {
		if p[1] != "" {
			fmt.Fprintf(&b, ` %s="%s"`, p[0], value(p[1], 128))
		}
	}
	b.WriteString("] \ufeff")
	b.WriteString(clean(e.Message))
	return cut(b.String(), maxMessage)
}

// token makes a header field: printable ASCII without blanks, or "-".
func token(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return cut(s, max)
}

// value makes the value of a parameter, cut to max bytes before escaping.
func value(s string, max int) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(cut(clean(s), max))
}

// clean puts blanks for control characters, so that no receiver sees two
// messages in one, and repairs broken UTF-8.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// cut shortens s to max bytes, between characters.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
