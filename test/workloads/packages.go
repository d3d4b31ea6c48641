package workloads

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// packages are what the kinds need. What the machine has is taken as it is;
// the others, with what they depend on, are about 40 MB to download.
var packages = []string{
	"nginx-light", "apache2-bin", "lighttpd", "haproxy", "redis-server", "redis-tools", "memcached",
	"postgresql-15", "mariadb-server-core", "mariadb-client-core", "sqlite3", "ruby", "php-cli", "php-fpm",
	"cron", "logrotate", "rsyslog", "rsync", "openjdk-17-jre-headless", "nodejs", "python3", "perl", "git",
	"openssl", "openssh-client", "openssh-server", "tini", "make", "gcc", "libc6-dev", "zstd", "xz-utils", "curl",
	"busybox-static", "dnsmasq-base", "bsdutils",
}

// Fetch gives a directory with the packages' archives that the machine lacks,
// kept below cache. Nothing is installed.
func Fetch(ctx context.Context, cache string, names []string) (dir string, err error) {
	sum := sha256.Sum256([]byte(strings.Join(names, " ")))
	dir = filepath.Join(cache, hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp := dir + ".part"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(filepath.Join(tmp, "partial"), 0o755)); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	args := append([]string{"install", "--yes", "--download-only", "--no-install-recommends", "--no-upgrade",
		"-o", "Dir::Cache::archives=" + tmp, "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"}, names...)
	if err := command(ctx, "apt-get", args...); err != nil {
		// The lists may be missing or too old.
		if err := errors.Join(command(ctx, "apt-get", "update"), command(ctx, "apt-get", args...)); err != nil {
			return "", fmt.Errorf("download the workloads' packages: %w", err)
		}
	}
	return dir, os.Rename(tmp, dir)
}

// Unpack lays the archives of dir into root, whose top directories become links
// into /usr as on every present system, although old archives still have them.
func Unpack(ctx context.Context, dir, root string) error {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", d), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			return err
		}
	}
	return errors.Join(each(4, debs, func(deb string) error {
		return command(ctx, "/bin/sh", "-c", `dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"`, deb, root)
	})...)
}

// each calls do for every item, at most limit at once, and gives the errors in
// the items' order.
func each[T any](limit int, items []T, do func(T) error) []error {
	errs := make([]error, len(items))
	free := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i, item := range items {
		free <- struct{}{}
		wg.Go(func() {
			errs[i] = do(item)
			<-free
		})
	}
	wg.Wait()
	return errs
}

func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}
