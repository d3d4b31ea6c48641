package workloads

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// What the static program in Go is called with; it lies at /opt/app/server.
const (
	serveArg = "workload-serve"
	probeArg = "workload-probe"
)

// users of daemons, as the packages' installation would make them.
var users = []struct {
	name string
	id   int
}{{"www-data", 33}, {"postgres", 921}, {"mysql", 922}, {"redis", 923}, {"memcache", 924}, {"sshd", 925}}

// Layer makes the image's layer of the kind's own in dir: its files, its
// users, and for the static program the file at self.
func (k Kind) Layer(dir, self string) error {
	for place, text := range k.Files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := put(dir, place, text, mode); err != nil {
			return err
		}
	}
	for _, v := range append([]string{"/tmp", "/run"}, k.Volumes...) {
		if err := os.MkdirAll(filepath.Join(dir, v), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []struct{ place, format string }{{"/etc/passwd", "%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n"}, {"/etc/group", "%s:x:%d:\n"}} {
		text, err := os.ReadFile(f.place)
		if err != nil {
			return err
		}
		for _, u := range users {
			if strings.Contains("\n"+string(text), "\n"+u.name+":") {
				continue
			}
			if strings.Count(f.format, "%d") == 2 {
				text = fmt.Appendf(text, f.format, u.name, u.id, u.id)
			} else {
				text = fmt.Appendf(text, f.format, u.name, u.id)
			}
		}
		if err := put(dir, f.place, string(text), 0o644); err != nil {
			return err
		}
	}
	if k.Args[0] != "/opt/app/server" {
		return nil
	}
	return copyFile(self, filepath.Join(dir, "opt/app/server"))
}

func put(dir, place, text string, mode os.FileMode) error {
	file := filepath.Join(dir, place)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), mode)
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}
