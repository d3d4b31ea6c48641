package pack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const refName = "org.opencontainers.image.ref.name"

// layout is a directory in OCI layout.
type layout struct{ dir, tag, digest string }

func openLayout(s string) (repo, error) {
	l := &layout{dir: s, tag: "latest"}
	if at := strings.LastIndex(s, "@sha256:"); at >= 0 {
		l.dir, l.digest = s[:at], s[at+1:]
		if !isDigest(l.digest) {
			return nil, fmt.Errorf("read reference oci:%s: no digest behind @", s)
		}
	} else if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, '/') {
		l.dir, l.tag = s[:colon], s[colon+1:]
	}
	if l.dir == "" || l.tag == "" {
		return nil, fmt.Errorf("read reference oci:%s: directory or tag is empty", s)
	}
	return l, nil
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

func (l *layout) path(digest string) string {
	return filepath.Join(l.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func (l *layout) index() (index, error) {
	i := index{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json"}
	b, err := readSmall(filepath.Join(l.dir, "index.json"), maxManifest)
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, fmt.Errorf("read index of %s: %w: %w", l.dir, err, ErrCorrupt)
	}
	return i, nil
}

func readSmall(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("read %s: more than %d bytes: %w", path, max, ErrTooBig)
	}
	return b, err
}

func (l *layout) manifest(context.Context) ([]byte, error) {
	want := l.digest
	if want == "" {
		i, err := l.index()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no OCI layout in %s: %w", l.dir, ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(i.Manifests, func(d descriptor) bool { return d.Annotations[refName] == l.tag })
		if at < 0 {
			return nil, fmt.Errorf("no %q in the OCI layout %s: %w", l.tag, l.dir, ErrNotFound)
		}
		if want = i.Manifests[at].Digest; !isDigest(want) {
			return nil, fmt.Errorf("digest %.80q in the index of %s: %w", want, l.dir, ErrCorrupt)
		}
	}
	b, err := readSmall(l.path(want), maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if digest(b) != want {
		return nil, fmt.Errorf("manifest %s has digest %s: %w", want, digest(b), ErrCorrupt)
	}
	return b, nil
}

func (l *layout) blob(_ context.Context, d descriptor, offset int64) (io.ReadCloser, int64, error) {
	f, err := os.Open(l.path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s in %s: %w", d.Digest, l.dir, ErrNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, offset, nil
}

func (l *layout) putBlob(ctx context.Context, d descriptor, open func() (io.ReadCloser, error)) error {
	path := l.path(d.Digest)
	if fi, err := os.Stat(path); err == nil && fi.Size() == d.Size {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	in, err := open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	h := newHash(io.LimitReader(&ctxReader{ctx, in}, d.Size+1))
	_, err = io.Copy(out, h)
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil && (h.n != d.Size || h.digest() != d.Digest) {
		err = fmt.Errorf("digest %s and %d bytes: %w", h.digest(), h.n, ErrCorrupt)
	}
	if err != nil {
		_ = os.Remove(path + ".new")
		return err
	}
	return os.Rename(path+".new", path)
}

func (l *layout) putManifest(ctx context.Context, raw []byte) error {
	if l.digest != "" {
		return fmt.Errorf("write to %s: a tag is needed, not a digest", l.dir)
	}
	d := descriptor{MediaType: manifestType, ArtifactType: ArtifactType, Digest: digest(raw), Size: int64(len(raw)), Annotations: map[string]string{refName: l.tag}}
	err := l.putBlob(ctx, d, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(raw))), nil })
	if err != nil {
		return err
	}
	i, err := l.index()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	i.Manifests = slices.DeleteFunc(i.Manifests, func(o descriptor) bool { return o.Annotations[refName] == l.tag })
	i.Manifests = append(i.Manifests, d)
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return replace(filepath.Join(l.dir, "index.json"), b)
}
