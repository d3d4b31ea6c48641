package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/scenario/stratum"
)

// What the attacker brings. It is harmless by construction: it proves that it
// ran, hashes for at most five seconds on one thread, tries ports of the
// re-enactment's own subnet, and posts one word to the shop.

// Proof is what hostile code prints to show that it really ran: only who was
// given the nonce can know it.
func Proof(nonce string) string {
	sum := sha256.Sum256([]byte("gabion re-enactment " + nonce))
	return hex.EncodeToString(sum[:16])
}

const implantUsage = `usage: kworker prove NONCE
       kworker mine URL [SHARES [DUTY]]
       kworker scan FIRST-LAST PORT[,PORT...]
       kworker spread URL NONCE
`

var errUsage = errors.New("usage")

func runImplant(ctx context.Context, e *Env) int {
	err := e.act(ctx, e.Args)
	if errors.Is(err, errUsage) {
		_, _ = io.WriteString(e.Stderr, implantUsage)
		return exitUsage
	}
	if err != nil {
		return e.fail("kworker", err)
	}
	return 0
}

// runInterpreter stands for an interpreter that belongs to the image: what it
// does is in its arguments, one act of the implant per line or ";".
func runInterpreter(ctx context.Context, e *Env) int {
	if len(e.Args) != 2 || e.Args[0] != "-c" {
		fmt.Fprintln(e.Stderr, "usage: python3 -c 'statement; statement'")
		return exitUsage
	}
	statements, err := split(e.Args[1])
	if err != nil {
		return e.fail("python3", err)
	}
	for _, words := range statements {
		if err := e.act(ctx, words); err != nil {
			return e.fail("python3", err)
		}
	}
	return 0
}

func (e *Env) act(ctx context.Context, words []string) error {
	if len(words) < 2 {
		return errUsage
	}
	switch what, args := words[0], words[1:]; {
	case what == "prove" && len(args) == 1:
		fmt.Fprintln(e.Stdout, "proof", Proof(args[0]))
		return nil
	case what == "mine" && len(args) <= 3:
		return e.mine(ctx, args)
	case what == "scan" && len(args) == 2:
		return e.scan(ctx, args[0], args[1])
	case what == "spread" && len(args) == 2:
		return e.spread(ctx, args[0], args[1])
	}
	return errUsage
}

func (e *Env) mine(ctx context.Context, args []string) error {
	o := stratum.Order{Pool: args[0], Worker: "demo", Dial: e.dial, Time: 3 * time.Second}
	var err error
	if len(args) > 1 {
		if o.Shares, err = strconv.Atoi(args[1]); err != nil {
			return errUsage
		}
	}
	if len(args) > 2 {
		if o.Duty, err = strconv.ParseFloat(args[2], 64); err != nil {
			return errUsage
		}
	}
	n, err := stratum.Mine(ctx, o)
	fmt.Fprintln(e.Stdout, "shares", n)
	return err
}

// scan tries every port of a short range of addresses and prints what is open.
func (e *Env) scan(ctx context.Context, hosts, ports string) error {
	first, last, ok := strings.Cut(hosts, "-")
	from, err1 := netip.ParseAddr(first)
	to, err2 := netip.ParseAddr(last)
	if !ok || err1 != nil || err2 != nil {
		return errUsage
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, 40)
	for n, a := 0, from; n < 256 && a.Compare(to) <= 0; n, a = n+1, a.Next() {
		for port := range strings.SplitSeq(ports, ",") {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				target := net.JoinHostPort(a.String(), port)
				one, stop := context.WithTimeout(ctx, time.Second)
				defer stop()
				conn, err := e.dial(one, "tcp", target)
				if err != nil {
					return
				}
				conn.Close()
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintln(e.Stdout, "open", target)
			})
		}
	}
	group.Wait()
	return nil
}

func (e *Env) spread(ctx context.Context, url, nonce string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(nonce))
	if err != nil {
		return err
	}
	resp, err := e.client(1500 * time.Millisecond).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return err
	}
	fmt.Fprintln(e.Stdout, "proof", strings.TrimSpace(string(body)))
	return nil
}
