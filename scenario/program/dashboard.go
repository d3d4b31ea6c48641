package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The careless dashboard: no login, a powerful token, and three conveniences
// for its operators that are conveniences for everybody else as well.

const (
	// maxCommand bounds how long anything started by the dashboard may run.
	maxCommand = 8 * time.Second
	// maxProgram bounds what can be uploaded, in bytes.
	maxProgram = 512 << 20
	// maxOutput bounds what is given back of a command, in bytes.
	maxOutput = 1 << 20
)

type dashboard struct {
	env *Env
	cfg Config
}

func runDashboard(ctx context.Context, e *Env) int {
	cfg, _, err := e.load("dashboard")
	if err != nil {
		return e.fail("dashboard", err)
	}
	d := &dashboard{env: e, cfg: cfg}
	return e.serve(ctx, "dashboard", cfg.Listen, d.handler())
}

func (d *dashboard) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "<!doctype html><title>%s</title><h1>%[1]s</h1>\n", d.cfg.Title)
	})
	mux.HandleFunc("GET /pods", d.pods)
	mux.HandleFunc("POST /diagnostics", d.diagnostics)
	mux.HandleFunc("POST /upload", d.upload)
	mux.HandleFunc("POST /plugin", d.plugin)
	return mux
}

// pods is what the dashboard has its token for.
func (d *dashboard) pods(w http.ResponseWriter, r *http.Request) {
	token, err := os.ReadFile(d.cfg.TokenFile)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, d.cfg.API+"/api/v1/pods", nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := d.env.client(3 * time.Second).Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(resp.Body, maxOutput))
}

// diagnostics runs what it is sent in a shell, "id; ls /var/log" by habit.
func (d *dashboard) diagnostics(w http.ResponseWriter, r *http.Request) {
	line, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxCommand)
	defer cancel()
	reply(w, exec.CommandContext(ctx, "/bin/sh", "-c", string(line)))
}

// upload stores a file where it is told, executable when told so.
func (d *dashboard) upload(w http.ResponseWriter, r *http.Request) {
	name := filepath.Clean(r.URL.Query().Get("path"))
	if !filepath.IsAbs(name) {
		http.Error(w, "path must be absolute", http.StatusBadRequest)
		return
	}
	if err := store(name, http.MaxBytesReader(w, r.Body, maxProgram)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	healthy(w, nil)
}

func store(name string, body io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".part", name)
}

// plugin runs a program that never touches a disk: it is kept in a memory file.
func (d *dashboard) plugin(w http.ResponseWriter, r *http.Request) {
	f, err := memoryFile(http.MaxBytesReader(w, r.Body, maxProgram))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(r.Context(), maxCommand)
	defer cancel()
	// The file is descriptor 3 of the child.
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3")
	cmd.Args = append([]string{"kworker"}, r.URL.Query()["arg"]...)
	cmd.ExtraFiles = []*os.File{f}
	reply(w, cmd)
}

// memoryFile puts body into a memory file and gives it back opened for reading:
// the kernel executes nothing that somebody may still write to.
func memoryFile(body io.Reader) (*os.File, error) {
	fd, err := unix.MemfdCreate("plugin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	w := os.NewFile(uintptr(fd), "plugin")
	defer w.Close()
	if _, err := io.Copy(w, body); err != nil {
		return nil, fmt.Errorf("fill memory file: %w", err)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// reply runs the command and answers with its output; how it ended is the last line.
func reply(w http.ResponseWriter, cmd *exec.Cmd) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	_, _ = w.Write(out.Bytes()[:min(out.Len(), maxOutput)])
	if err != nil {
		fmt.Fprintf(w, "\n[%v]\n", err)
	}
}
