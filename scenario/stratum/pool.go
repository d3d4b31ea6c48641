package stratum

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is the mining pool of the re-enactment. Create it with NewPool; it
// serves any number of listeners and counts what it verified.
type Pool struct {
	bits    int
	shares  atomic.Uint64
	workers sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[net.Conn]struct{}
}

// sessionLimit ends a session however busy it is.
const sessionLimit = 15 * time.Second

// maxSessions bounds the sessions that are served at the same time.
const maxSessions = 256

// NewPool makes a pool whose shares need that many leading zero bits (16 costs
// a client about 65,000 hashes, some hundredths of a second).
func NewPool(bits int) *Pool {
	return &Pool{bits: bits, conns: map[net.Conn]struct{}{}}
}

// Shares is how many valid, distinct shares have arrived so far.
func (p *Pool) Shares() uint64 { return p.shares.Load() }

// Serve accepts sessions from l in the background until Close.
func (p *Pool) Serve(l net.Listener, c Carrier) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	p.listeners = append(p.listeners, l)
	p.workers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !p.admit(conn) {
				conn.Close()
				continue
			}
			p.workers.Go(func() {
				defer p.dismiss(conn)
				// A session that breaks is the client's loss; the count stands.
				_ = p.session(conn, c)
			})
		}
	})
	return nil
}

// Close ends all sessions and waits for them.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.listeners {
		l.Close()
	}
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.workers.Wait()
}

func (p *Pool) admit(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.conns) >= maxSessions {
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Pool) dismiss(conn net.Conn) {
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
	conn.Close()
}

func (p *Pool) session(conn net.Conn, c Carrier) error {
	if err := conn.SetDeadline(time.Now().Add(sessionLimit)); err != nil {
		return err
	}
	var ch channel = newLines(conn)
	if c == WebSocket {
		ws, err := upgrade(conn)
		if err != nil {
			return err
		}
		ch = ws
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return fmt.Errorf("make seed: %w", err)
	}
	s := &session{pool: p, seed: hex.EncodeToString(raw[:]), seen: map[uint64]bool{}}
	for {
		data, err := ch.read()
		if err != nil {
			return err
		}
		m, err := parse(data)
		if err != nil {
			return err
		}
		out, err := json.Marshal(s.answer(m))
		if err != nil {
			return err
		}
		if err := ch.write(out); err != nil {
			return err
		}
	}
}

// session is one client's state: its seed and the nonces it was paid for.
type session struct {
	pool       *Pool
	seed       string
	authorized bool
	seen       map[uint64]bool
}

func (s *session) answer(m message) message {
	out := message{ID: m.ID}
	switch m.Method {
	case "mining.subscribe":
		out.Result, _ = json.Marshal(job{Seed: s.seed, Bits: s.pool.bits}) // a struct of a string and an int
	case "mining.authorize":
		s.authorized = len(m.Params) > 0 && m.Params[0] != ""
		out.Result = json.RawMessage(strconv.FormatBool(s.authorized))
	case "mining.submit":
		switch {
		case !s.authorized:
			out.Error = "unauthorized worker"
		case len(m.Params) != 2:
			out.Error = "want worker and nonce"
		default:
			nonce, err := strconv.ParseUint(m.Params[1], 16, 64)
			switch {
			case err != nil:
				out.Error = "bad nonce"
			case s.seen[nonce]:
				out.Error = "duplicate share"
			case !work(s.seed, nonce, s.pool.bits):
				out.Error = "low difficulty share"
			default:
				s.seen[nonce] = true
				s.pool.shares.Add(1)
				out.Result = json.RawMessage("true")
			}
		}
	default:
		out.Error = "unknown method"
	}
	return out
}
