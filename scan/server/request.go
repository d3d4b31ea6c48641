package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
)

// decode reads one JSON value and nothing else; unknown fields are refused, so
// that a newer client is not misunderstood in silence.
func decode(body []byte, v any) *Error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind it")
		}
	}
	if err != nil {
		return refuse(http.StatusBadRequest, CodeInvalid, "use a client of the server's version", "read request: %v", err)
	}
	return nil
}

// parseScan reads a Request and makes its references complete.
func (s *Server) parseScan(body []byte) (Request, *Error) {
	var r Request
	if e := decode(body, &r); e != nil {
		return r, e
	}
	full, e := s.reference(r.Reference)
	if e != nil {
		return r, e
	}
	r.Reference = full
	return r, s.decisions(&r.Decisions)
}

func (s *Server) decisions(d *Decisions) *Error {
	if d.Base == "" {
		return nil
	}
	full, e := s.reference(d.Base)
	d.Base = "registry:" + full
	return e
}

// reference checks that a name is one in a registry that may be asked, and
// makes it complete. Paths, daemons and containers of the server's machine are
// no business of its clients.
func (s *Server) reference(ref string) (string, *Error) {
	text := strings.TrimPrefix(ref, "registry:")
	parsed, err := name.ParseReference(text)
	if err != nil {
		return "", refuse(http.StatusBadRequest, CodeInvalid, "name an image in a registry; archives and folders are read by the client", "%q is not an image in a registry", ref)
	}
	host := parsed.Context().RegistryStr()
	odd := func(part string) bool { return part == "" || part == "." || part == ".." }
	if odd(host) || strings.HasSuffix(host, ":") || slices.ContainsFunc(strings.Split(parsed.Context().RepositoryStr(), "/"), odd) {
		return "", refuse(http.StatusBadRequest, CodeInvalid, "name an image in a registry; archives and folders are read by the client", "%q is not an image in a registry", ref)
	}
	if !allowed(host, s.c.Registries) {
		return "", refuse(http.StatusForbidden, CodeForbidden, "ask for it to be put on the server's list of registries", "the server may not ask registry %s", host)
	}
	return parsed.Name(), nil
}

// allowed reports whether a registry is on the list. Addresses of the server's
// own surroundings must be there word for word: a pattern does not mean them.
func allowed(host string, list []string) bool {
	const dockerAlias, docker = "index.docker.io", "docker.io"
	if host == dockerAlias {
		host = docker
	}
	bare, _, err := net.SplitHostPort(host)
	if err != nil {
		bare = host
	}
	ip, err := netip.ParseAddr(strings.Trim(bare, "[]"))
	inner := err == nil && !public(ip) || bare == "localhost" || strings.HasSuffix(bare, ".localhost")
	return slices.ContainsFunc(list, func(p string) bool {
		if p == dockerAlias {
			p = docker
		}
		if p == host {
			return true
		}
		ok, err := path.Match(p, host)
		return ok && err == nil && !inner
	})
}

func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// RefusePrivate is a net.Dialer.Control for a Backend's transport: connections
// to loopback, link-local and private addresses fail, whatever name led there.
// It is for servers whose registries are all public.
func RefusePrivate(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !public(ip) {
		return fmt.Errorf("connect to %s: only public addresses are allowed", address)
	}
	return nil
}

func parseMissing(body []byte) (MissingRequest, *Error) {
	var r MissingRequest
	if e := decode(body, &r); e != nil {
		return r, e
	}
	if len(r.Layers) > maxLayers {
		return r, refuse(http.StatusBadRequest, CodeInvalid, "", "%d layers, at most %d are allowed", len(r.Layers), maxLayers)
	}
	for _, l := range r.Layers {
		if e := diffID(l); e != nil {
			return r, e
		}
	}
	return r, nil
}

func diffID(text string) *Error {
	if _, err := digest.Parse(text); err != nil {
		return refuse(http.StatusBadRequest, CodeInvalid, "", "%q is not a digest", text)
	}
	return nil
}

// parseMerge reads a MergeRequest; lost layers come back as a set.
func (s *Server) parseMerge(body []byte) (r MergeRequest, lost map[int]bool, e *Error) {
	if e := decode(body, &r); e != nil {
		return r, nil, e
	}
	if n := len(r.Image.Layers); n == 0 || n > maxLayers {
		return r, nil, refuse(http.StatusBadRequest, CodeInvalid, "", "%d layers, from 1 to %d are allowed", n, maxLayers)
	}
	lost = map[int]bool{}
	for _, i := range r.Lost {
		if i < 0 || i >= len(r.Image.Layers) {
			return r, nil, refuse(http.StatusBadRequest, CodeInvalid, "", "there is no layer %d that could be lost", i)
		}
		lost[i] = true
	}
	if len(lost) > 0 && len(r.Gaps) == 0 {
		return r, nil, refuse(http.StatusBadRequest, CodeInvalid, "say what happened to them", "layers are lost, but no gap says why")
	}
	for i, l := range r.Image.Layers {
		if lost[i] {
			continue
		}
		if e := diffID(l.DiffID); e != nil {
			return r, nil, e
		}
	}
	return r, lost, s.decisions(&r.Decisions)
}
