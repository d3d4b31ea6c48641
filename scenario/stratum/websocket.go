package stratum

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// The little of RFC 6455 that both sides need: text frames without
// fragmentation, answers to pings, and the closing handshake's first half.

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

type webSocket struct {
	r      *bufio.Reader
	w      io.Writer
	client bool // clients mask what they send, servers do not (RFC 6455, 5.1)
}

func (s *webSocket) read() ([]byte, error) {
	for {
		op, payload, err := readFrame(s.r, !s.client)
		if err != nil {
			return nil, err
		}
		switch op {
		case opText:
			return payload, nil
		case opPing:
			if err := s.frame(opPong, payload); err != nil {
				return nil, err
			}
		case opPong:
		case opClose:
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("read frame: %w: opcode %d", ErrProtocol, op)
		}
	}
}

func (s *webSocket) write(data []byte) error { return s.frame(opText, data) }

func (s *webSocket) frame(op byte, payload []byte) error {
	if len(payload) > MaxMessage {
		return ErrTooLong
	}
	buf := make([]byte, 0, len(payload)+14)
	buf = append(buf, 0x80|op)
	mask := byte(0)
	if s.client {
		mask = 0x80
	}
	if len(payload) < 126 {
		buf = append(buf, mask|byte(len(payload)))
	} else {
		buf = append(buf, mask|126)
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(payload)))
	}
	if s.client {
		var key [4]byte
		if _, err := rand.Read(key[:]); err != nil {
			return fmt.Errorf("mask frame: %w", err)
		}
		buf = append(buf, key[:]...)
		for i, b := range payload {
			buf = append(buf, b^key[i%4])
		}
	} else {
		buf = append(buf, payload...)
	}
	_, err := s.w.Write(buf)
	return err
}

// readFrame reads one unfragmented frame. masked says whether the sender must
// mask (a client) or must not (a server).
func readFrame(r io.Reader, masked bool) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xF0 != 0x80 {
		return 0, nil, fmt.Errorf("read frame: %w: fragment or reserved bits", ErrProtocol)
	}
	if (head[1]&0x80 != 0) != masked {
		return 0, nil, fmt.Errorf("read frame: %w: masking", ErrProtocol)
	}
	op = head[0] & 0x0F
	size := int(head[1] & 0x7F)
	switch size {
	case 126:
		var ext [2]byte
		if _, err := io.ReadFull(r, ext[:]); err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(ext[:]))
	case 127:
		return 0, nil, ErrTooLong
	}
	if size > MaxMessage {
		return 0, nil, ErrTooLong
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	if masked {
		for i := range payload {
			payload[i] ^= key[i%4]
		}
	}
	return op, payload, nil
}

// acceptKey is the server's proof that it understood the handshake.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// upgrade does the server's half of the handshake.
func upgrade(conn net.Conn) (*webSocket, error) {
	// The limit bounds the request's head; frames are bounded one by one.
	r := bufio.NewReaderSize(conn, MaxMessage)
	req, err := http.ReadRequest(bufio.NewReader(io.LimitReader(&byteReader{r}, MaxMessage)))
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	key := req.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") || key == "" {
		_, _ = io.WriteString(conn, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return nil, fmt.Errorf("upgrade: %w: no WebSocket request", ErrProtocol)
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(key))
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return &webSocket{r: r, w: conn}, nil
}

// byteReader hands out one byte at a time, so that a buffered reader above it
// takes nothing that belongs to the frames after the head.
type byteReader struct{ r *bufio.Reader }

func (b *byteReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return b.r.Read(p[:1])
}

// handshake does the client's half.
func handshake(conn net.Conn, host, path string) (*webSocket, error) {
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	key := base64.StdEncoding.EncodeToString(raw[:])
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, host, key)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	r := bufio.NewReaderSize(conn, MaxMessage)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	// A 101 response has no body; what follows in r are frames.
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		return nil, fmt.Errorf("handshake: %w: status %d", ErrProtocol, resp.StatusCode)
	}
	return &webSocket{r: r, w: conn, client: true}, nil
}
