package program

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// product is one thing on sale; prices are in cents.
type product struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Price int    `json:"price"`
}

func catalogue() []product {
	return []product{{1, "Willow basket", 4900}, {2, "Wicker chair", 18900}, {3, "Gabion planter", 25900}, {4, "Hazel rods", 1200}}
}

// shop is the part of the story that must go on working: catalogue, cart,
// checkout, with two back ends.
type shop struct {
	env  *Env
	file string // its configuration, read again on request

	mu    sync.Mutex
	cfg   Config
	carts map[string][]int
	notes [][]byte // what /internal/import took in
}

// maxCarts bounds what strangers can make the shop remember.
const maxCarts = 1000

func runShop(ctx context.Context, e *Env) int {
	cfg, file, err := e.load("shop")
	if err != nil {
		return e.fail("shop", err)
	}
	s := &shop{env: e, file: file, cfg: cfg, carts: map[string][]int{}}
	return e.serve(ctx, "shop", cfg.Listen, s.handler())
}

func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "<!doctype html><title>%s</title><h1>%[1]s</h1>\n", s.config().Title)
	})
	mux.HandleFunc("GET /products", func(w http.ResponseWriter, _ *http.Request) { answer(w, catalogue()) })
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, p := range catalogue() {
			if strconv.Itoa(p.ID) == r.PathValue("id") {
				answer(w, p)
				return
			}
		}
		http.Error(w, "no such product", http.StatusNotFound)
	})
	mux.HandleFunc("POST /cart", s.add)
	mux.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) { answer(w, s.cart(r)) })
	mux.HandleFunc("POST /checkout", s.checkout)
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.HandleFunc("POST /jobs/report", s.report)
	// Left over from a migration, and without a login: what A8 spreads into.
	mux.HandleFunc("POST /internal/import", s.importNote)
	return mux
}

func healthy(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone when this fails
}

func (s *shop) config() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

func (s *shop) cart(r *http.Request) []int {
	c, err := r.Cookie("cart")
	if err != nil {
		return []int{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int{}, s.carts[c.Value]...)
}

func (s *shop) add(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.FormValue("product"))
	if err != nil || id < 1 || id > len(catalogue()) {
		http.Error(w, "no such product", http.StatusBadRequest)
		return
	}
	key := ""
	if c, err := r.Cookie("cart"); err == nil {
		key = c.Value
	} else {
		b := make([]byte, 12)
		if _, err := rand.Read(b); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		key = hex.EncodeToString(b)
		http.SetCookie(w, &http.Cookie{Name: "cart", Value: key, HttpOnly: true})
	}
	s.mu.Lock()
	if len(s.carts) >= maxCarts {
		clear(s.carts)
	}
	s.carts[key] = append(s.carts[key], id)
	n := len(s.carts[key])
	s.mu.Unlock()
	answer(w, map[string]int{"items": n})
}

// checkout logs in at the payments service, submits the amount and writes the
// order down: the methods have the names that mining traffic has, on purpose.
func (s *shop) checkout(w http.ResponseWriter, r *http.Request) {
	items := s.cart(r)
	if len(items) == 0 {
		http.Error(w, "cart is empty", http.StatusBadRequest)
		return
	}
	total := 0
	for _, id := range items {
		total += catalogue()[id-1].Price
	}
	ctx, cancel := context.WithTimeout(r.Context(), 4*time.Second)
	defer cancel()
	cfg := s.config()
	session, err := s.env.rpc(ctx, cfg.Payments, "login", "shop", "x")
	if err == nil {
		_, err = s.env.rpc(ctx, cfg.Payments, "submit", session, strconv.Itoa(total))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	id, err := s.env.order(ctx, cfg.Orders, order{Op: "insert", Total: total, Items: items})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	answer(w, map[string]int{"order": id, "total": total})
}

func (s *shop) reload(w http.ResponseWriter, _ *http.Request) {
	cfg, err := readConfig(s.file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	s.cfg = cfg
	s.mu.Unlock()
	healthy(w, nil)
}

// report runs the shop's batch job, a program of the image that uses a whole
// processor for a moment.
func (s *shop) report(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/local/bin/report", "250ms").CombinedOutput()
	if err != nil {
		http.Error(w, fmt.Sprintf("report: %v: %s", err, out), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(out)
}

func (s *shop) importNote(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	if len(s.notes) < maxCarts {
		s.notes = append(s.notes, data)
	}
	s.mu.Unlock()
	_, _ = io.WriteString(w, Proof(string(bytes.TrimSpace(data)))+"\n")
}

type rpcRequest struct {
	JSONRPC string   `json:"jsonrpc"`
	ID      int      `json:"id"`
	Method  string   `json:"method"`
	Params  []string `json:"params"`
}

type rpcResponse struct {
	JSONRPC string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Result  string `json:"result,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (e *Env) rpc(ctx context.Context, url, method string, params ...string) (string, error) {
	body, err := json.Marshal(rpcRequest{JSONRPC: "2.0", ID: 1, Method: method, Params: params})
	if err != nil {
		return "", fmt.Errorf("payments %s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("payments %s: %w", method, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client(3 * time.Second).Do(req)
	if err != nil {
		return "", fmt.Errorf("payments %s: %w", method, err)
	}
	defer resp.Body.Close()
	var out rpcResponse
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&out); err != nil {
		return "", fmt.Errorf("payments %s: %w", method, err)
	}
	if out.Error != "" {
		return "", fmt.Errorf("payments %s: %w", method, errors.New(out.Error))
	}
	return out.Result, nil
}

// order is a request to the orders database: one JSON text per line.
type order struct {
	Op    string `json:"op"` // insert, ping
	Total int    `json:"total,omitempty"`
	Items []int  `json:"items,omitempty"`
}

type orderAnswer struct {
	ID    int    `json:"id"`
	Error string `json:"error,omitempty"`
}

func (e *Env) order(ctx context.Context, address string, o order) (int, error) {
	conn, err := e.dial(ctx, "tcp", address)
	if err != nil {
		return 0, fmt.Errorf("orders: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return 0, fmt.Errorf("orders: %w", err)
		}
	}
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return 0, fmt.Errorf("orders: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 1<<16)).ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("orders: %w", err)
	}
	var a orderAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		return 0, fmt.Errorf("orders: %w", err)
	}
	if a.Error != "" {
		return 0, fmt.Errorf("orders: %w", errors.New(a.Error))
	}
	return a.ID, nil
}
