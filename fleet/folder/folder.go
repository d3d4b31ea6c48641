// Package folder keeps desired state as a folder of YAML files, the form it
// has outside a cluster.
//
// It knows files and documents, not what they mean. The one idea: the folder
// is the truth; a file that breaks is replaced by its last good content (kept
// in a second folder, so also across restarts) until it is mended or removed,
// and every edit made for a person keeps the comments and the order of the file.
package folder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
)

// ErrNoDocument: the folder has no document with that identifier.
var ErrNoDocument = errors.New("no such document")

// Config names the folders. Both are made when missing.
type Config struct {
	// Dir is the folder that people and tools write.
	Dir string
	// LastGood keeps a copy of the last good content of every file.
	LastGood string
	// Checks look further into documents than the language itself does.
	Checks []v1alpha1.Validator
	// Poll is how often Run looks for changes; default 250 ms. A
	// change counts when two looks in a row see the same.
	Poll time.Duration
}

// State is the folder as it was read.
type State struct {
	Set *policy.Set
	// Problems are the errors of files that were refused and of what a
	// running policy had to be kept for.
	Problems []error
	// Kept names files whose last good content is in force instead of what
	// they hold now.
	Kept []string
	// Fingerprint is equal for equal content.
	Fingerprint string
}

// Folder reads, watches and edits the documents. Its edits are not safe
// against other writers of the same file at the same moment; each is atomic.
type Folder struct{ cfg Config }

// New makes the folders.
func New(cfg Config) (*Folder, error) {
	if cfg.Poll == 0 {
		cfg.Poll = 250 * time.Millisecond
	}
	for _, d := range []string{cfg.Dir, cfg.LastGood} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, fmt.Errorf("make policy folder: %w", err)
		}
	}
	return &Folder{cfg: cfg}, nil
}

// Dir is the folder that people write.
func (f *Folder) Dir() string { return f.cfg.Dir }

// Read reads everything once. The error is about the folder itself; errors of
// documents are in State.Problems.
func (f *Folder) Read() (State, error) {
	names, err := f.names()
	if err != nil {
		return State{}, err
	}
	var st State
	var files []policy.File
	for _, name := range names {
		data, err := readBounded(filepath.Join(f.cfg.Dir, name))
		var problems []error
		if err != nil {
			problems = []error{fmt.Errorf("%s: %w", name, err)}
		} else {
			_, problems = policy.Load([]policy.File{{Name: name, Data: data}}, f.cfg.Checks...)
		}
		if len(problems) == 0 {
			if err := f.keep(name, data); err != nil {
				st.Problems = append(st.Problems, err)
			}
			files = append(files, policy.File{Name: name, Data: data})
			continue
		}
		st.Problems = append(st.Problems, problems...)
		if good, err := os.ReadFile(f.goodPath(name)); err == nil {
			st.Kept = append(st.Kept, name)
			files = append(files, policy.File{Name: name, Data: good})
		} else if data != nil {
			// Never seen whole: its valid documents count, the broken ones are refused.
			files = append(files, policy.File{Name: name, Data: data})
		}
	}
	f.forget(names)
	set, problems := policy.Load(files, f.cfg.Checks...)
	st.Set = set
	for _, p := range problems {
		if !slices.ContainsFunc(st.Problems, func(q error) bool { return q.Error() == p.Error() }) {
			st.Problems = append(st.Problems, p)
		}
	}
	sum := sha256.New()
	for _, file := range files {
		fmt.Fprintf(sum, "%s\x00%d\x00", file.Name, len(file.Data))
		sum.Write(file.Data)
	}
	for _, p := range st.Problems {
		fmt.Fprintf(sum, "%s\x00", p)
	}
	st.Fingerprint = hex.EncodeToString(sum.Sum(nil))
	return st, nil
}

// Run calls fn with the state now and after every change, until ctx ends. A
// folder that cannot be read keeps the state before and is told to failed.
func (f *Folder) Run(ctx context.Context, fn func(State), failed func(error)) error {
	last, lastStamp, settling := "-", "-", ""
	t := time.NewTicker(f.cfg.Poll)
	defer t.Stop()
	for {
		stamp, err := f.stamp()
		// A file that is being written is read when it has come to rest, so that
		// a moment of emptiness is never taken for a deletion.
		rested := stamp == settling || lastStamp == "-"
		settling = stamp
		if err == nil && stamp != lastStamp && rested {
			var st State
			if st, err = f.Read(); err == nil {
				lastStamp = stamp
				if st.Fingerprint != last {
					last = st.Fingerprint
					fn(st)
				}
			}
		}
		failed(err)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// stamp is a cheap fingerprint from names, sizes and times.
func (f *Folder) stamp() (string, error) {
	names, err := f.names()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, n := range names {
		if st, err := os.Stat(filepath.Join(f.cfg.Dir, n)); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", n, st.Size(), st.ModTime().UnixNano())
		}
	}
	return b.String(), nil
}

func (f *Folder) names() ([]string, error) {
	var out []string
	err := filepath.WalkDir(f.cfg.Dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") && p != f.cfg.Dir {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		ext := strings.ToLower(filepath.Ext(p))
		if d.IsDir() || (ext != ".yaml" && ext != ".yml" && ext != ".json") {
			return nil
		}
		rel, err := filepath.Rel(f.cfg.Dir, p)
		out = append(out, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read policy folder: %w", err)
	}
	slices.Sort(out)
	return out, nil
}

// readBounded never reads more than a policy file may have; one byte over is
// enough for policy.Load to refuse it by size.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(io.LimitReader(file, v1alpha1.MaxFileBytes+1))
	return b.Bytes(), err
}

func (f *Folder) goodPath(name string) string {
	return filepath.Join(f.cfg.LastGood, strings.ReplaceAll(name, "/", "%2F"))
}

func (f *Folder) keep(name string, data []byte) error {
	if old, err := os.ReadFile(f.goodPath(name)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := writeAtomic(f.goodPath(name), data); err != nil {
		return fmt.Errorf("keep last good policy: %w", err)
	}
	return nil
}

// forget removes last good copies of files that are gone: a deleted policy is
// deleted on purpose.
func (f *Folder) forget(names []string) {
	entries, err := os.ReadDir(f.cfg.LastGood)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !slices.Contains(names, strings.ReplaceAll(e.Name(), "%2F", "/")) {
			os.Remove(filepath.Join(f.cfg.LastGood, e.Name()))
		}
	}
}

func writeAtomic(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".gabion-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Chmod(0o640)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
