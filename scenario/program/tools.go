package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runShell is "sh -c 'program argument; program argument'": it splits, it
// quotes, it runs one program after the other, and that is all.
func runShell(ctx context.Context, e *Env) int {
	if len(e.Args) != 2 || e.Args[0] != "-c" {
		fmt.Fprintln(e.Stderr, "usage: sh -c 'program argument...; program...'")
		return exitUsage
	}
	commands, err := split(e.Args[1])
	if err != nil {
		fmt.Fprintf(e.Stderr, "sh: %v\n", err)
		return exitUsage
	}
	status := 0
	for _, words := range commands {
		if status = e.command(ctx, words); ctx.Err() != nil {
			break
		}
	}
	return status
}

// command runs one program and waits for it.
func (e *Env) command(ctx context.Context, words []string) int {
	var err error
	// A file that was written a moment ago may still be open for writing in a
	// process that is just being started; the kernel then says "text file busy".
	for range 20 {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = e.Stdin, e.Stdout, e.Stderr
		if err = cmd.Run(); !errors.Is(err, syscall.ETXTBSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case errors.As(err, &exit):
		fmt.Fprintf(e.Stderr, "sh: %s: %v\n", words[0], exit)
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exitFailed
	}
	fmt.Fprintf(e.Stderr, "sh: %s: %v\n", words[0], err)
	return exitNotFound
}

// split cuts a line into commands at ";" and newlines, and commands into words
// at blanks. Single and double quotes keep what is between them together.
func split(line string) ([][]string, error) {
	var commands [][]string
	var words []string
	var word strings.Builder
	open, quote := false, rune(0)
	endWord := func() {
		if open {
			words = append(words, word.String())
		}
		word.Reset()
		open = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ';' || r == '\n':
			endCommand()
		case r == ' ' || r == '\t':
			endWord()
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unterminated %c", quote)
	}
	endCommand()
	return commands, nil
}

// HideMark at the end of a copy of this executable makes its ls leave out
// names that begin with ".kworker": the trojaned program of step A8a.
const HideMark = "gabion-re-enactment-hides-files"

// trojaned reports whether the running executable ends with HideMark.
func trojaned() bool {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer f.Close()
	end := make([]byte, len(HideMark))
	if _, err := f.Seek(-int64(len(end)), io.SeekEnd); err != nil {
		return false
	}
	_, err = io.ReadFull(f, end)
	return err == nil && bytes.Equal(end, []byte(HideMark))
}

func runList(_ context.Context, e *Env) int {
	dirs := e.Args
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	hide := trojaned()
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return e.fail("ls", err)
		}
		for _, x := range entries {
			if hide && strings.HasPrefix(x.Name(), ".kworker") {
				continue
			}
			fmt.Fprintln(e.Stdout, x.Name())
		}
	}
	return 0
}

func runCat(_ context.Context, e *Env) int {
	for _, name := range e.Args {
		f, err := os.Open(name)
		if err != nil {
			return e.fail("cat", err)
		}
		_, err = io.Copy(e.Stdout, f)
		f.Close()
		if err != nil {
			return e.fail("cat", err)
		}
	}
	return 0
}

func runID(_ context.Context, e *Env) int {
	fmt.Fprintf(e.Stdout, "uid=%d gid=%d\n", os.Getuid(), os.Getgid())
	return 0
}

// trivial are the tools that print one thing or nothing.
func trivial(name string) runner {
	return func(_ context.Context, e *Env) int {
		out, err := "", error(nil)
		switch name {
		case "echo":
			out = strings.Join(e.Args, " ")
		case "env":
			out = strings.Join(os.Environ(), "\n")
		case "hostname":
			out, err = os.Hostname()
		case "pwd":
			out, err = os.Getwd()
		case "uname":
			out = "Linux"
		case "false":
			return exitFailed
		case "true":
			return 0
		}
		if err != nil {
			return e.fail(name, err)
		}
		fmt.Fprintln(e.Stdout, out)
		return 0
	}
}

func runChmod(_ context.Context, e *Env) int {
	if len(e.Args) != 2 {
		fmt.Fprintln(e.Stderr, "usage: chmod mode file")
		return exitUsage
	}
	mode, err := strconv.ParseUint(e.Args[0], 8, 9)
	if err != nil {
		return e.fail("chmod", fmt.Errorf("read mode %q: %w", e.Args[0], err))
	}
	if err := os.Chmod(e.Args[1], fs.FileMode(mode)); err != nil {
		return e.fail("chmod", err)
	}
	return 0
}

// runFetch is the download tool: fetch [-o file] [-H "Name: value"] URL.
func runFetch(ctx context.Context, e *Env) int {
	out, header, url := "", http.Header{}, ""
	for i := 0; i < len(e.Args); i++ {
		switch a := e.Args[i]; {
		case (a == "-o" || a == "-H") && i+1 < len(e.Args):
			i++
			if a == "-o" {
				out = e.Args[i]
				continue
			}
			k, v, _ := strings.Cut(e.Args[i], ":")
			header.Add(k, strings.TrimSpace(v))
		case url == "" && !strings.HasPrefix(a, "-"):
			url = a
		default:
			fmt.Fprintln(e.Stderr, "usage: fetch [-o file] [-H 'Name: value'] URL")
			return exitUsage
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return e.fail("fetch", err)
	}
	req.Header = header
	resp, err := e.client(maxCommand).Do(req)
	if err != nil {
		return e.fail("fetch", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return e.fail("fetch", fmt.Errorf("get %s: %s", url, resp.Status))
	}
	w := e.Stdout
	if out != "" {
		f, err := os.Create(out)
		if err != nil {
			return e.fail("fetch", err)
		}
		defer f.Close()
		w = f
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return e.fail("fetch", err)
	}
	return 0
}
