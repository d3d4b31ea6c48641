// Package program holds the programs that run in the containers of the
// re-enactment: a small shop and its back ends, a careless dashboard, a
// stand-in for a Kubernetes API, a few tools, and what the attacker brings.
//
// All of them are this one executable acting by its name, as busybox does, and
// only when the environment variable GABION_SCENARIO is 1. There is no exploit
// in here: the way in is the dashboard, which does what it is asked without
// asking who asks. The one idea: whatever a program dials goes through one
// function that refuses every address outside of the re-enactment, so that a
// copy that gets out can do nothing.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"
)

// Switch is the environment variable that must be "1" for any of this to act.
const Switch = "GABION_SCENARIO"

// ErrOutside: a program was asked to dial an address outside of the re-enactment.
var ErrOutside = errors.New("address is outside of the re-enactment")

// Exit statuses, as shells use them.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 127
)

// Env is what a program may use of the world.
type Env struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Dial is nil in production: then addresses outside are refused.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

type runner func(context.Context, *Env) int

// find gives the program of that name, nil when there is none.
func find(name string) runner {
	switch name {
	case "shop":
		return runShop
	case "orders-db":
		return runOrders
	case "payments":
		return runPayments
	case "dashboard":
		return runDashboard
	case "api":
		return runAPI
	case "report":
		return runReport
	case "sh":
		return runShell
	case "ls":
		return runList
	case "cat":
		return runCat
	case "id":
		return runID
	case "chmod":
		return runChmod
	case "fetch":
		return runFetch
	case "echo", "env", "false", "hostname", "pwd", "true", "uname":
		return trivial(name)
	case "python3":
		return runInterpreter
	case "kworker", "dbus-helper":
		return runImplant
	}
	return nil
}

// Tools are the names that share one file in an image, as in busybox. There
// are as many as it takes for a reader of the image to see that it is a
// multi-call program, which is then judged by the name it acts under.
func Tools() []string {
	return []string{"cat", "chmod", "echo", "env", "false", "fetch", "hostname", "id", "ls", "pwd", "python3", "sh", "true", "uname"}
}

// Main acts as the program that argv names, if it names one and the switch is
// set, and then ends the process. Otherwise it returns false at once.
func Main(argv []string) bool {
	if len(argv) == 0 || os.Getenv(Switch) != "1" {
		return false
	}
	run := find(path.Base(argv[0]))
	if run == nil {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, &Env{Args: argv[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	stop()
	os.Exit(status)
	return true
}

// inside are the addresses of the re-enactment: documentation ranges (RFC 5737,
// RFC 3849), its private networks, and loopback.
func inside(a netip.Addr) bool {
	a = a.Unmap()
	if a.IsLoopback() {
		return true
	}
	for _, p := range [...]string{"10.88.0.0/24", "172.30.0.0/24", "203.0.113.0/24", "198.51.100.0/24", "fd88::/16", "2001:db8::/32"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}

// dial connects to addresses inside only. The check is on the address that is
// really dialled, after names were resolved.
func (e *Env) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if e.Dial != nil {
		return e.Dial(ctx, network, address)
	}
	d := net.Dialer{Timeout: 2 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !inside(ap.Addr()) {
			return fmt.Errorf("dial %s: %w", address, ErrOutside)
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// client is an HTTP client that uses dial and nothing of the environment.
func (e *Env) client(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: e.dial, DisableKeepAlives: true}}
}

// fail prints what went wrong and gives the exit status for it.
func (e *Env) fail(name string, err error) int {
	fmt.Fprintf(e.Stderr, "%s: %v\n", name, err)
	return exitFailed
}

// serve serves HTTP until ctx ends.
func (e *Env) serve(ctx context.Context, name, address string, h http.Handler) int {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return e.fail(name, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		srv.Close()
	})
	err = srv.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return 0
	}
	return e.fail(name, err)
}
