package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/console/access"
)

// listenUnix opens the command line's socket at path with mode 0600. A socket
// file that nobody listens on any more is replaced.
func listenUnix(path string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&fs.ModeSocket == 0 {
			// Somebody's file, named by mistake: not ours to remove.
			return nil, fmt.Errorf("listen on %s: there is something that is no socket; move it away or give another path", path)
		}
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: another process serves this socket", path), c.Close())
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove old socket %s: %w", path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Between the two calls the mode may be wider; the peer's credentials are
	// what decides, the mode is a second lock.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("restrict socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

type peerKey struct{}

// peer is the process at the other end of the unix socket, as the kernel
// recorded it when it connected.
type peer struct {
	uid uint32
	pid int32
	err error
}

// peerContext is http.Server.ConnContext: it asks the kernel who connected.
func peerContext(ctx context.Context, c net.Conn) context.Context {
	p := peer{err: errors.New("not a unix socket")}
	if uc, ok := c.(*net.UnixConn); ok {
		raw, err := uc.SyscallConn()
		p.err = err
		if err == nil {
			ctlErr := raw.Control(func(fd uintptr) {
				cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
				if err != nil {
					p.err = err
					return
				}
				p.uid, p.pid = cred.Uid, cred.Pid
			})
			p.err = errors.Join(p.err, ctlErr)
		}
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// socketGate lets root and the console's own user in, as admin. There is no
// browser on a unix socket, so cookies, hosts and origins play no part.
func (s *Server) socketGate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		own := uint32(os.Geteuid())
		if !ok || p.err != nil || (p.uid != 0 && p.uid != own) {
			s.refuse(w, r, http.StatusForbidden, "uid", fmt.Sprintf("user id %d may not use this socket", p.uid),
				"Run the command as root or as the user that Gabion runs as.")
			return
		}
		id := access.Identity{Name: localName(p.uid), Role: access.Admin}
		next.ServeHTTP(w, r.WithContext(withIdentity(r.Context(), id)))
	})
}

func localName(uid uint32) string {
	if uid == 0 {
		return "root (local)"
	}
	return "uid " + strconv.FormatUint(uint64(uid), 10) + " (local)"
}
