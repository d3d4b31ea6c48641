package stratum

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestMineOverEveryCarrier(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, tc := range []struct {
		name, scheme, path string
		carrier            Carrier
		duty               float64
		tls                bool
	}{
		{"plain", "stratum+tcp://", "", Lines, 0, false},
		{"tls", "stratum+ssl://", "", Lines, 0, true},
		{"websocket", "ws://", "/proxy", WebSocket, 0, false},
		{"quiet", "stratum+tcp://", "", Lines, 0.05, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pool := NewPool(8)
			defer pool.Close()
			l := listen(t)
			addr := l.Addr().String()
			if tc.tls {
				l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
			}
			if err := pool.Serve(l, tc.carrier); err != nil {
				t.Fatal(err)
			}
			n, err := Mine(t.Context(), Order{Pool: tc.scheme + addr + tc.path, Shares: 4, Duty: tc.duty, Dial: (&net.Dialer{}).DialContext})
			if err != nil || n != 4 {
				t.Fatalf("Mine = %d, %v; want 4 shares", n, err)
			}
			if got := pool.Shares(); got != 4 {
				t.Errorf("pool counted %d shares, the client %d", got, n)
			}
		})
	}
}

func TestMineStops(t *testing.T) {
	defer goleak.VerifyNone(t)
	pool := NewPool(32) // out of reach in the time given
	defer pool.Close()
	l := listen(t)
	if err := pool.Serve(l, Lines); err != nil {
		t.Fatal(err)
	}
	n, err := Mine(t.Context(), Order{Pool: "stratum+tcp://" + l.Addr().String(), Time: 50 * time.Millisecond, Dial: (&net.Dialer{}).DialContext})
	if n != 0 || err != nil {
		t.Fatalf("Mine = %d, %v; want none and no error at the time limit", n, err)
	}
	if _, err := Mine(t.Context(), Order{Pool: "http://" + l.Addr().String(), Dial: (&net.Dialer{}).DialContext}); err == nil {
		t.Error("an unknown scheme was accepted")
	}
	refused := errors.New("refused")
	_, err = Mine(t.Context(), Order{Pool: "stratum+tcp://x:1", Dial: func(context.Context, string, string) (net.Conn, error) { return nil, refused }})
	if !errors.Is(err, refused) {
		t.Errorf("Mine = %v, want the dialler's error", err)
	}
}

// TestPoolVerifies: the pool is the ground truth, so it must not count what was not earned.
func TestPoolVerifies(t *testing.T) {
	p := NewPool(8)
	s := &session{pool: p, seed: "seed", seen: map[uint64]bool{}}
	good, bad := "", ""
	for n := uint64(0); good == "" || bad == ""; n++ {
		hex := strings.ToLower(big.NewInt(0).SetUint64(n).Text(16))
		if work("seed", n, 8) {
			good = hex
		} else {
			bad = hex
		}
	}
	for _, tc := range []struct {
		what   string
		m      message
		err    string
		shares uint64
	}{
		{"submit before authorize", message{Method: "mining.submit", Params: []string{"w", good}}, "unauthorized worker", 0},
		{"authorize", message{Method: "mining.authorize", Params: []string{"w", "x"}}, "", 0},
		{"too easy", message{Method: "mining.submit", Params: []string{"w", bad}}, "low difficulty share", 0},
		{"not a number", message{Method: "mining.submit", Params: []string{"w", "zz"}}, "bad nonce", 0},
		{"missing nonce", message{Method: "mining.submit", Params: []string{"w"}}, "want worker and nonce", 0},
		{"good", message{Method: "mining.submit", Params: []string{"w", good}}, "", 1},
		{"the same again", message{Method: "mining.submit", Params: []string{"w", good}}, "duplicate share", 1},
		{"unknown", message{Method: "eth_getWork"}, "unknown method", 1},
	} {
		if got := s.answer(tc.m); got.Error != tc.err || p.Shares() != tc.shares {
			t.Errorf("%s: error %q, %d shares; want %q, %d", tc.what, got.Error, p.Shares(), tc.err, tc.shares)
		}
	}
}

func TestPoolRefusesWhatIsTooLong(t *testing.T) {
	defer goleak.VerifyNone(t)
	pool := NewPool(8)
	defer pool.Close()
	l := listen(t)
	if err := pool.Serve(l, Lines); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = conn.Write(bytes.Repeat([]byte("a"), 2*MaxMessage)) // the pool may hang up in the middle
	if data, err := io.ReadAll(conn); len(data) != 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("pool answered %q, %v; want a closed connection", data, err)
	}
}

func TestUpgradeRefusesOtherRequests(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	done := make(chan error, 1)
	go func() {
		_, err := upgrade(server)
		server.Close()
		done <- err
	}()
	go io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, _ := bufio.NewReader(client).ReadString('\n')
	if !strings.Contains(answer, "426") {
		t.Errorf("answer %q, want status 426", answer)
	}
	go io.Copy(io.Discard, client)
	if err := <-done; !errors.Is(err, ErrProtocol) {
		t.Errorf("upgrade = %v, want ErrProtocol", err)
	}
}

func FuzzFrame(f *testing.F) {
	var b bytes.Buffer
	_ = (&webSocket{w: &b, client: true}).write([]byte(`{"id":1,"method":"mining.subscribe"}`))
	f.Add(b.Bytes(), true)
	f.Add([]byte{0x81, 126, 0xff, 0xff}, false)
	f.Add([]byte{0x01, 0x00}, false)
	f.Fuzz(func(t *testing.T, data []byte, masked bool) {
		op, payload, err := readFrame(bytes.NewReader(data), masked)
		if err != nil {
			return
		}
		if len(payload) > MaxMessage {
			t.Fatalf("payload of %d bytes passed", len(payload))
		}
		var out bytes.Buffer
		if err := (&webSocket{w: &out, client: masked}).frame(op, payload); err != nil {
			t.Fatal(err)
		}
		op2, payload2, err := readFrame(&out, masked)
		if err != nil || op2 != op || !bytes.Equal(payload, payload2) {
			t.Fatalf("round trip gave %d %q %v, want %d %q", op2, payload2, err, op, payload)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"id":1,"method":"mining.submit","params":["w","1f"]}`))
	f.Add([]byte(`{"id":1,"result":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		s := &session{pool: NewPool(8), seed: "s", seen: map[uint64]bool{}}
		if a := s.answer(m); a.Error == "" && a.Result == nil {
			t.Fatalf("%q got an empty answer", data)
		}
	})
}
