// Package stratum is the mining traffic of the re-enactment: a pool that
// counts shares and a client that submits them, over plain TCP, TLS and
// WebSocket.
//
// It is not a miner for any currency: a share is a number whose SHA-256
// together with the pool's seed starts with a few zero bits, worth nothing to
// anyone, and the client stops after five seconds at the latest. The one idea:
// the pool is the ground truth. Whatever the attacker or Gabion believes, an
// attack earned exactly as many shares as the pool verified.
package stratum

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"time"
)

// MaxMessage is the longest message either side accepts, in bytes.
const MaxMessage = 4096

// Errors that callers match.
var (
	// ErrTooLong: the other side sent a message of more than MaxMessage bytes.
	ErrTooLong = errors.New("message longer than 4096 bytes")
	// ErrProtocol: the other side does not speak this protocol.
	ErrProtocol = errors.New("not this protocol")
)

// Carrier is how messages travel.
type Carrier string

// Carriers. TLS is Lines inside TLS, which the listener or dialler provides.
const (
	Lines     Carrier = "lines"     // one JSON text per line
	WebSocket Carrier = "websocket" // one JSON text per text frame
)

// message is a request, or a response when Method is empty.
type message struct {
	ID     uint64          `json:"id"`
	Method string          `json:"method,omitempty"`
	Params []string        `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// job is the answer to mining.subscribe.
type job struct {
	Seed string `json:"seed"`
	Bits int    `json:"bits"`
}

// parse reads one message. It accepts unknown fields, as real pools do.
func parse(data []byte) (message, error) {
	if len(data) > MaxMessage {
		return message{}, ErrTooLong
	}
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		return message{}, fmt.Errorf("parse message: %w: %w", ErrProtocol, err)
	}
	if m.Method == "" && m.Result == nil && m.Error == "" {
		return message{}, fmt.Errorf("parse message: %w: neither method nor result", ErrProtocol)
	}
	return m, nil
}

// work reports whether nonce is a share of the job.
func work(seed string, nonce uint64, want int) bool {
	buf := make([]byte, 0, 64)
	buf = append(buf, seed...)
	buf = binary.BigEndian.AppendUint64(buf, nonce)
	sum := sha256.Sum256(buf)
	return bits.LeadingZeros64(binary.BigEndian.Uint64(sum[:8])) >= want
}

// channel carries whole messages over a connection.
type channel interface {
	read() ([]byte, error)
	write([]byte) error
}

type lines struct {
	r *bufio.Reader
	w io.Writer
}

func newLines(conn net.Conn) *lines {
	return &lines{r: bufio.NewReaderSize(conn, MaxMessage+1), w: conn}
}

func (l *lines) read() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, ErrTooLong
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(bytes.TrimRight(line, "\r\n")), nil
}

func (l *lines) write(data []byte) error {
	_, err := l.w.Write(append(data, '\n'))
	return err
}

// call sends a request and waits for its response; other messages are passed over.
func call(ch channel, conn net.Conn, id uint64, method string, params ...string) (message, error) {
	data, err := json.Marshal(message{ID: id, Method: method, Params: params})
	if err != nil {
		return message{}, fmt.Errorf("call %s: %w", method, err)
	}
	if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return message{}, fmt.Errorf("call %s: %w", method, err)
	}
	if err := ch.write(data); err != nil {
		return message{}, fmt.Errorf("call %s: %w", method, err)
	}
	for {
		data, err := ch.read()
		if err != nil {
			return message{}, fmt.Errorf("call %s: %w", method, err)
		}
		m, err := parse(data)
		if err != nil {
			return message{}, fmt.Errorf("call %s: %w", method, err)
		}
		if m.ID != id || m.Method != "" {
			continue
		}
		if m.Error != "" {
			return m, fmt.Errorf("call %s: pool said %q", method, m.Error)
		}
		return m, nil
	}
}

// callTimeout bounds one request of the client.
const callTimeout = 2 * time.Second
