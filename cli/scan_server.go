package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/lean"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/server"
)

// scanRemote says which server scans.
type scanRemote struct{ url, tokenFile string }

// Variables of the environment that name a scan server and hold the token for it.
const (
	serverEnv = "GABION_SCAN_SERVER"
	tokenEnv  = "GABION_SCAN_TOKEN"
)

// environment fills what no flag said.
func (r *scanRemote) environment(getenv func(string) string) {
	if r.url == "" {
		r.url = getenv(serverEnv)
	}
}

func (r scanRemote) client() (*server.Client, error) {
	c := &server.Client{URL: r.url, Token: os.Getenv(tokenEnv)}
	if r.tokenFile != "" {
		text, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read token: %w", err)
		}
		c.Token = strings.TrimSpace(string(text))
	}
	return c, nil
}

// scanOne scans here, or asks a server.
func scanOne(ctx context.Context, env *Env, ref string, o scanning.Options, remote scanRemote, p *scanProgress) (*scan.Report, error) {
	defer p.end()
	if remote.url != "" {
		c, err := remote.client()
		if err != nil {
			return nil, err
		}
		return scanning.Remote(ctx, c, ref, o)
	}
	_ = lean.Drop() // what cannot be given back stays, that is all; again when everything is set up
	s, err := scanning.Setup(o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, n := range s.Notes {
		note(env, n)
	}
	defer beLean(&s.Engine)()
	return engine.Scan(ctx, ref, s.Engine)
}

func scanServeCommand(env *Env) *cobra.Command {
	o := scanning.Options{Tool: version.Name + " " + version.Version}
	var cfg server.Config
	var listen, cert, key, tokens string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Scan for many CI jobs: they share layers and database",
		Long: `Listens for gabion scan --server. Images in registries are pulled here, for
registries that --registry allows; of archives and folders the job reads what no
job has read yet and sends what it found, never the files.

--tokens names a file with a line NAME:TOKEN for every client. What one client
sent is never taken for what another scans.`,
		Example: `  gabion scan serve --listen 0.0.0.0:8444 --cert tls.crt --key-file tls.key --tokens tokens --registry 'registry.example:5000'`,
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tokens == "" {
				return exit(ScanFailed, errors.New("--tokens is missing: a file with a line NAME:TOKEN for every client"))
			}
			var err error
			if cfg.Tokens, err = readTokens(tokens); err != nil {
				return exit(ScanFailed, err)
			}
			if (cert == "") != (key == "") {
				return exit(ScanFailed, errors.New("--cert and --key-file are given together"))
			}
			if cert == "" && !loopback(listen) {
				return exit(ScanFailed, fmt.Errorf("--listen %s is reached from other machines: give --cert and --key-file, tokens must not travel in the clear", listen))
			}
			o.Environment(os.Getenv)
			s, err := scanning.Setup(o)
			if err != nil {
				return exit(ScanFailed, err)
			}
			defer s.Close()
			log := slog.New(slog.NewTextHandler(env.Err.W, nil))
			for _, n := range s.Notes {
				log.Warn(n)
			}
			backend, err := scanning.NewBackend(s.Engine, o)
			if err != nil {
				return exit(ScanFailed, err)
			}
			handler, err := server.New(cfg, server.Deps{Backend: backend, Layers: backend, Log: log})
			if err != nil {
				return exit(ScanFailed, err)
			}
			return serve(cmd.Context(), env, listen, cert, key, handler)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&listen, "listen", "127.0.0.1:8444", "listen on `ADDRESS`")
	f.StringVar(&cert, "cert", "", "the server's certificate is in `FILE`")
	f.StringVar(&key, "key-file", "", "its key is in `FILE`")
	f.StringVar(&tokens, "tokens", "", "clients and their tokens are in `FILE`, one NAME:TOKEN a line")
	f.StringArrayVar(&cfg.Registries, "registry", nil, "clients may name images in registries like `GLOB`")
	f.IntVar(&cfg.Parallel, "parallel", 0, "scan `N` images at once; default: 2")
	f.IntVar(&cfg.Queue, "queue", 0, "let `N` scans wait; default: 64")
	f.DurationVar(&cfg.Timeout, "scan-timeout", 0, "one scan takes at most `TIME`; default: 10m")
	o.Flags(f)
	completeScan(cmd)
	return cmd
}

func readTokens(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	out := map[string]string{}
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, token, ok := strings.Cut(line, ":")
		if !ok || name == "" || len(token) < 16 {
			return nil, fmt.Errorf("%s:%d: write NAME:TOKEN, with at least 16 characters of token", file, n+1)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s:%d: client %q exists twice", file, n+1, name)
		}
		out[name] = token
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s names no client", file)
	}
	return out, nil
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serve listens until ctx ends; clients that wait are told then.
func serve(ctx context.Context, env *Env, listen, cert, key string, h *server.Server) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return exit(ScanFailed, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	scheme := "http"
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return exit(ScanFailed, errors.Join(fmt.Errorf("read certificate: %w", err), l.Close()))
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
		scheme = "https"
	}
	env.Err.Printf("scanning for clients at %s://%s; Ctrl-C ends it\n", scheme, l.Addr())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return exit(ScanFailed, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(h.Close(), srv.Shutdown(stop))
	<-done
	if err != nil {
		return exit(ScanFailed, err)
	}
	return nil
}
