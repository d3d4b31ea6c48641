package stratum

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// MaxMining is the longest that one Mine call computes, whatever is asked.
const MaxMining = 5 * time.Second

// Order says what to mine, where and how hard.
type Order struct {
	// Pool is "stratum+tcp://host:port", "stratum+ssl://host:port" or
	// "ws://host:port/path".
	Pool   string
	Worker string
	// Shares: stop after so many were accepted. 0 means 3.
	Shares int
	// Time: stop after this long. 0 means, and more than MaxMining is cut to, MaxMining.
	Time time.Duration
	// Duty is the part of the time that is computed in, 0.05 being the quiet
	// miner of A10. 0 means 1.
	Duty float64
	// Dial opens connections; the caller decides which destinations are allowed.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Mine does what a cryptocurrency miner does on the wire: subscribe, authorize,
// compute, submit. It runs in the calling goroutine, so on one thread, and
// returns how many shares the pool accepted. Reaching the time limit is no error.
func Mine(ctx context.Context, o Order) (accepted int, err error) {
	if o.Shares <= 0 {
		o.Shares = 3
	}
	if o.Time <= 0 || o.Time > MaxMining {
		o.Time = MaxMining
	}
	if o.Duty <= 0 || o.Duty > 1 {
		o.Duty = 1
	}
	if o.Worker == "" {
		o.Worker = "worker"
	}
	ctx, cancel := context.WithTimeout(ctx, o.Time)
	defer cancel()

	conn, ch, err := connect(ctx, o)
	if err != nil {
		return 0, fmt.Errorf("mine at %s: %w", o.Pool, err)
	}
	defer conn.Close()
	j, err := begin(ch, conn, o.Worker)
	if err != nil {
		return 0, fmt.Errorf("mine at %s: %w", o.Pool, err)
	}
	for nonce, id := uint64(0), uint64(3); accepted < o.Shares; id++ {
		var found bool
		nonce, found = search(ctx, j, nonce, o.Duty)
		if !found {
			return accepted, nil
		}
		if _, err := call(ch, conn, id, "mining.submit", o.Worker, strconv.FormatUint(nonce, 16)); err != nil {
			return accepted, fmt.Errorf("mine at %s: %w", o.Pool, err)
		}
		accepted++
		nonce++
	}
	return accepted, nil
}

func connect(ctx context.Context, o Order) (net.Conn, channel, error) {
	u, err := url.Parse(o.Pool)
	if err != nil {
		return nil, nil, fmt.Errorf("read pool address: %w", err)
	}
	conn, err := o.Dial(ctx, "tcp", u.Host)
	if err != nil {
		return nil, nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline.Add(callTimeout)); err != nil {
		conn.Close()
		return nil, nil, err
	}
	switch u.Scheme {
	case "stratum+tcp":
		return conn, newLines(conn), nil
	case "stratum+ssl":
		// Pools use certificates of their own making and miners do not check
		// them; that is part of what is re-enacted.
		t := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("handshake: %w", err)
		}
		return t, newLines(t), nil
	case "ws":
		ws, err := handshake(conn, u.Host, u.RequestURI())
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		return conn, ws, nil
	}
	conn.Close()
	return nil, nil, fmt.Errorf("read pool address: unknown scheme %q", u.Scheme)
}

func begin(ch channel, conn net.Conn, worker string) (job, error) {
	m, err := call(ch, conn, 1, "mining.subscribe")
	if err != nil {
		return job{}, err
	}
	var j job
	if err := json.Unmarshal(m.Result, &j); err != nil {
		return job{}, fmt.Errorf("read job: %w", err)
	}
	if j.Bits < 1 || j.Bits > 32 {
		return job{}, errors.New("read job: difficulty out of reach")
	}
	_, err = call(ch, conn, 2, "mining.authorize", worker, "x")
	return j, err
}

// search tries nonces from start until one is a share or ctx ends. With a duty
// below 1 it computes for slices of a few milliseconds and rests in between.
func search(ctx context.Context, j job, start uint64, duty float64) (uint64, bool) {
	const slice = 4 * time.Millisecond
	rest := time.Duration(float64(slice)/duty) - slice
	began := time.Now()
	for n := start; ; n++ {
		if work(j.Seed, n, j.Bits) {
			return n, true
		}
		if n%256 != 0 {
			continue
		}
		if ctx.Err() != nil {
			return n, false
		}
		if rest > 0 && time.Since(began) >= slice {
			select {
			case <-ctx.Done():
				return n, false
			case <-time.After(rest):
			}
			began = time.Now()
		}
	}
}
