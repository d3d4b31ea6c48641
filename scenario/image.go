package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/scenario/program"
)

// images are the directories that the containers' roots are made of: one base
// with the tools, and one layer per service. The executable is copied three
// times only; inside one container the tools, the service and the batch job
// are different files, as they would be in a real image.
type images struct {
	dir   string
	base  string
	tools string // the copy that the tools' links lead to
}

// token and secrets are files' contents that are made up for each run.
type credentials struct {
	token  string
	secret string
}

func buildImages(dir, binary string, services []service, hosts string, cred credentials) (*images, error) {
	im := &images{dir: dir, base: filepath.Join(dir, "base")}
	im.tools = filepath.Join(im.base, "usr/bin/tools")
	for _, d := range []string{"usr/bin", "usr/local/bin", "etc", "tmp", "var/tmp", "var/log", "run", "root", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(im.base, d), 0o755); err != nil {
			return nil, fmt.Errorf("build images: %w", err)
		}
	}
	for link, target := range map[string]string{"bin": "usr/bin", "var/run": "../run"} {
		if err := os.Symlink(target, filepath.Join(im.base, link)); err != nil {
			return nil, fmt.Errorf("build images: %w", err)
		}
	}
	for name, text := range map[string]string{
		"etc/hosts":         hosts,
		"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\n",
		"var/log/setup.log": "image built\n",
	} {
		if err := os.WriteFile(filepath.Join(im.base, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("build images: %w", err)
		}
	}
	if err := copyFile(binary, im.tools); err != nil {
		return nil, fmt.Errorf("build images: %w", err)
	}
	for _, name := range program.Tools() {
		if err := os.Symlink("tools", filepath.Join(im.base, "usr/bin", name)); err != nil {
			return nil, fmt.Errorf("build images: %w", err)
		}
	}
	// One file under the services' names: no container has two of them.
	server, batch := filepath.Join(dir, "server"), filepath.Join(dir, "batch")
	if err := errors.Join(copyFile(binary, server), copyFile(binary, batch)); err != nil {
		return nil, fmt.Errorf("build images: %w", err)
	}
	for _, s := range services {
		if err := im.layer(s, server, batch, cred); err != nil {
			return nil, fmt.Errorf("build image of %s: %w", s.name, err)
		}
	}
	return im, nil
}

// layer is a service's own layer above the base.
func (im *images) layer(s service, server, batch string, cred credentials) error {
	root := filepath.Join(im.dir, s.name)
	bin, etc := filepath.Join(root, "usr/local/bin"), filepath.Join(root, "etc", s.name)
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.MkdirAll(etc, 0o755)); err != nil {
		return err
	}
	if err := os.Link(server, filepath.Join(bin, s.name)); err != nil {
		return err
	}
	if s.name == "shop" {
		if err := os.Link(batch, filepath.Join(bin, "report")); err != nil {
			return err
		}
	}
	cfg := s.config
	switch s.name {
	case "api":
		cfg.Token, cfg.Secrets = cred.token, map[string]string{"registry-password": cred.secret}
	case "dashboard":
		file := filepath.Join(root, "run/secrets/kubernetes.io/serviceaccount/token")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(cred.token+"\n"), 0o644); err != nil {
			return err
		}
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(etc, "config.json"), data, 0o644)
}

// lower gives the layers of a service's image, the top one first.
func (im *images) lower(name string) []string { return []string{filepath.Join(im.dir, name), im.base} }

// copyFile copies an executable: sharing its blocks where the file system can,
// inside the kernel where it cannot.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy executable: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("copy executable: %w", err)
	}
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		_, err = io.Copy(dst, src) // copy_file_range by way of os.File.ReadFrom
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return fmt.Errorf("copy executable: %w", err)
	}
	return nil
}

// removeAll removes a directory tree, waiting for nothing.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
