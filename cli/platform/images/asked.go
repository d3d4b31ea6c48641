package images

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/scan/registry"
	"github.com/gabion-dev/gabion/workload"
)

const (
	maxWaiting  = 32  // scans that were asked for and have not begun
	maxFinished = 100 // that are remembered
)

// jobs are the scans that people asked for, oldest first.
type jobs struct {
	mu    sync.Mutex
	list  []*job
	ready chan struct{}
}

type job struct {
	view console.ImageScan
	what console.ImageToScan
}

func newJobs() *jobs { return &jobs{ready: make(chan struct{}, 1)} }

// add queues one; the same twice waits once.
func (j *jobs) add(n job) (console.ImageScan, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	waiting := 0
	for _, x := range j.list {
		if x.view.State == "waiting" {
			if x.what == n.what {
				return x.view, nil
			}
			waiting++
		}
	}
	if waiting >= maxWaiting {
		return console.ImageScan{}, fmt.Errorf("%d scans wait: %w", waiting, console.ErrBusy)
	}
	j.list = append(j.list, &n)
	for i := 0; len(j.list) > maxFinished+maxWaiting && i < len(j.list); {
		if s := j.list[i].view.State; s == "done" || s == "failed" {
			j.list = slices.Delete(j.list, i, i+1)
			continue
		}
		i++
	}
	select {
	case j.ready <- struct{}{}:
	default:
	}
	return n.view, nil
}

// next takes the oldest that waits.
func (j *jobs) next() *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, x := range j.list {
		if x.view.State == "waiting" {
			x.view.State = "scanning"
			return x
		}
	}
	return nil
}

func (j *jobs) set(x *job, change func(*console.ImageScan)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&x.view)
}

// Scans implements console.Images.
func (r *Room) Scans(context.Context) ([]console.ImageScan, error) {
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	out := make([]console.ImageScan, 0, len(r.jobs.list))
	for _, x := range slices.Backward(r.jobs.list) {
		out = append(out, x.view)
	}
	return out, nil
}

// ScanImage implements console.Images. Files and folders of this machine are not
// to be had this way: whoever may ask for a scan must not read them through it.
func (r *Room) ScanImage(_ context.Context, what console.ImageToScan, actor string) (console.ImageScan, error) {
	label := what.Reference
	switch {
	case what.Container != "":
		c, ok := r.container(what.Container)
		if !ok {
			return console.ImageScan{}, fmt.Errorf("no container %q runs here: %w", what.Container, console.ErrRefused)
		}
		what = console.ImageToScan{Container: c.ID}
		if label = c.Image; label == "" {
			label = c.ID
		}
	case strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r == 0x7f }) || label == "":
		return console.ImageScan{}, fmt.Errorf("%q is no reference of an image: %w", label, console.ErrRefused)
	case slices.ContainsFunc([]string{"dir:", "tar:", "oci:", "sbom:", "container:"}, func(s string) bool { return strings.HasPrefix(label, s) }) ||
		strings.HasPrefix(label, "/") || strings.HasPrefix(label, "."):
		return console.ImageScan{}, fmt.Errorf("%q names a file of this machine; scan it there with gabion scan: %w", label, console.ErrRefused)
	}
	return r.jobs.add(job{what: what, view: console.ImageScan{ID: rand.Text(), What: label, Actor: actor, State: "waiting", Asked: r.d.Now().UTC()}})
}

func (r *Room) container(id string) (workload.Container, bool) {
	for _, c := range r.d.Running() {
		if c.ID == id || len(id) >= 12 && strings.HasPrefix(c.ID, id) {
			return c, true
		}
	}
	return workload.Container{}, false
}

// work scans what is asked for, one at a time.
func (r *Room) work(ctx context.Context) {
	for {
		x := r.jobs.next()
		if x == nil {
			select {
			case <-ctx.Done():
				return
			case <-r.jobs.ready:
			}
			continue
		}
		digest, err := r.scanAsked(ctx, x.what)
		r.jobs.set(x, func(v *console.ImageScan) {
			v.State, v.Digest, v.Ended = "done", digest, r.d.Now().UTC()
			if err != nil {
				v.State, v.Problem = "failed", err.Error()
			}
		})
		if err != nil && ctx.Err() == nil {
			e := r.about(event.ImageFailed, event.Medium, x.view.What, fmt.Sprintf("%s could not be scanned: %v", x.view.What, err), x.view.ID)
			e.Actor = x.view.Actor
			r.d.Record(e)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (r *Room) scanAsked(ctx context.Context, what console.ImageToScan) (digest string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the scanner broke on it: %v", p)
			r.d.Log.Error("image broke the scanner", "image", what.Reference+what.Container, "panic", p)
		}
	}()
	k, err := r.d.Scanner.Local(ctx, what)
	if err != nil {
		return "", err
	}
	if digest, err = keyOf(k.Image); err != nil {
		return "", err
	}
	name := what.Reference
	if c, ok := r.container(what.Container); what.Container != "" && ok {
		name = c.Image
	}
	for _, scheme := range []string{"registry:", "docker:", "containerd:"} {
		name = strings.TrimPrefix(name, scheme)
	}
	return digest, r.putAsked(ctx, k, digest, name)
}

// putAsked keeps an image under what it was asked for by.
func (r *Room) putAsked(ctx context.Context, k *registry.Kept, digest, name string) error {
	var targets []string
	if rec, ok := r.record(digest); ok {
		targets = targetsOf(rec.ByTarget)
	}
	rep, err := r.assemble(k, targets)
	if err != nil {
		return err
	}
	var names []string
	if full, _ := canonical(name); full != "" {
		names = []string{full}
	}
	return r.put(ctx, "", names, rep, k)
}
