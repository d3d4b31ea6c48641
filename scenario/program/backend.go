package program

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// runOrders is the orders database: lines of JSON over TCP, kept in memory.
func runOrders(ctx context.Context, e *Env) int {
	cfg, _, err := e.load("orders-db")
	if err != nil {
		return e.fail("orders-db", err)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return e.fail("orders-db", err)
	}
	serveOrders(ctx, l)
	return 0
}

func serveOrders(ctx context.Context, l net.Listener) {
	var last atomic.Int64
	var sessions sync.WaitGroup
	defer sessions.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() {
			defer conn.Close()
			// A client has ten seconds; nothing here takes longer.
			if conn.SetDeadline(time.Now().Add(10*time.Second)) == nil {
				orderSession(conn, &last)
			}
		})
	}
}

func orderSession(conn net.Conn, last *atomic.Int64) {
	lines := bufio.NewScanner(conn)
	out := json.NewEncoder(conn)
	for lines.Scan() {
		var o order
		a := orderAnswer{}
		switch err := json.Unmarshal(lines.Bytes(), &o); {
		case err != nil:
			a.Error = "not a JSON object"
		case o.Op == "ping":
		case o.Op == "insert" && len(o.Items) > 0:
			a.ID = int(last.Add(1))
		default:
			a.Error = "unknown operation or nothing to insert"
		}
		if out.Encode(a) != nil {
			return
		}
	}
}

// runPayments is the JSON-RPC service with methods named login and submit,
// which look like mining to who only looks at names.
func runPayments(ctx context.Context, e *Env) int {
	cfg, _, err := e.load("payments")
	if err != nil {
		return e.fail("payments", err)
	}
	return e.serve(ctx, "payments", cfg.Listen, paymentsHandler())
}

func paymentsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	mux.HandleFunc("POST /rpc", func(w http.ResponseWriter, r *http.Request) {
		var req rpcRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil {
			http.Error(w, "not JSON-RPC", http.StatusBadRequest)
			return
		}
		out := rpcResponse{JSONRPC: "2.0", ID: req.ID}
		switch {
		case req.Method == "login" && len(req.Params) == 2:
			out.Result = Proof("session of " + req.Params[0])[:16]
		case req.Method == "submit" && len(req.Params) == 2:
			out.Result = "accepted"
		default:
			out.Error = "unknown method or wrong number of parameters"
		}
		answer(w, out)
	})
	return mux
}

// runAPI is the stand-in for a Kubernetes API: it knows one token, and that
// token may read everything, as in the stories this re-enacts.
func runAPI(ctx context.Context, e *Env) int {
	cfg, _, err := e.load("api")
	if err != nil {
		return e.fail("api", err)
	}
	return e.serve(ctx, "api", cfg.Listen, apiHandler(cfg))
}

func apiHandler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	guarded := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if cfg.Token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(cfg.Token)) != 1 {
				http.Error(w, `{"kind":"Status","code":401}`, http.StatusUnauthorized)
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("GET /api/v1/pods", guarded(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"kind": "PodList", "items": []string{"shop", "orders-db", "payments", "dashboard"}})
	}))
	mux.HandleFunc("GET /api/v1/secrets", guarded(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"kind": "SecretList", "items": cfg.Secrets})
	}))
	return mux
}

// runReport is the batch job: it keeps one processor fully busy with hashing
// for as long as its argument says, at most two seconds. It does what a miner
// does to the processor and nothing of what a miner does to the network.
func runReport(ctx context.Context, e *Env) int {
	d := 200 * time.Millisecond
	if len(e.Args) > 0 {
		v, err := time.ParseDuration(e.Args[0])
		if err != nil {
			fmt.Fprintln(e.Stderr, "usage: report [duration]")
			return exitUsage
		}
		d = min(v, 2*time.Second)
	}
	var sum [sha256.Size]byte
	n := uint64(0)
	for end := time.Now().Add(d); ctx.Err() == nil && time.Now().Before(end); n++ {
		sum = sha256.Sum256(binary.BigEndian.AppendUint64(sum[:], n))
	}
	fmt.Fprintf(e.Stdout, "report: %d rows, checksum %x\n", n, sum[:4])
	return 0
}
