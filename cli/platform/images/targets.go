package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/registry"
)

// target is one ScanTarget that is followed.
type target struct {
	spec v1alpha1.ScanTargetSpec
	hook *registry.Hook
	deaf string // why it hears no notifications though it should
	stop func() // ends its sweeps and waits for that

	mu   sync.Mutex
	view console.ScanTarget
}

func (t *target) status() console.ScanTarget {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

func (t *target) set(change func(*console.ScanTarget)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.view)
}

// followTargets stops targets that went or changed and starts those that came.
func (r *Room) followTargets(ctx context.Context) {
	r.mu.Lock()
	wanted := map[string]*v1alpha1.ScanTarget{}
	for _, w := range r.wanted {
		wanted[w.Name] = w
	}
	var ended []*target
	for name, t := range r.targets {
		if w, ok := wanted[name]; !ok || !reflect.DeepEqual(w.Spec, t.spec) {
			ended = append(ended, t)
			delete(r.targets, name)
		}
	}
	r.mu.Unlock()
	for _, t := range ended {
		t.stop()
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		r.mu.Lock()
		_, there := r.targets[name]
		r.mu.Unlock()
		if !there && ctx.Err() == nil {
			t := r.start(ctx, wanted[name])
			r.mu.Lock()
			r.targets[name] = t
			r.mu.Unlock()
		}
	}
}

func (r *Room) stopTargets() {
	r.mu.Lock()
	list := slices.Collect(maps.Values(r.targets))
	r.targets = map[string]*target{}
	r.mu.Unlock()
	for _, t := range list {
		t.stop()
	}
}

// start begins to follow a target. What is wrong with it is its state.
func (r *Room) start(ctx context.Context, doc *v1alpha1.ScanTarget) *target {
	t := &target{spec: doc.Spec, stop: func() {}}
	t.view = console.ScanTarget{Name: doc.Name, Registry: doc.Spec.Registry, Schedule: doc.Spec.Schedule, State: "scanning", Webhook: doc.Spec.Webhook != nil}
	fail := func(err error) *target {
		t.view.State, t.view.Problem = "failed", err.Error()
		r.tellTrouble(doc.Name, doc.Spec.Registry, err)
		return t
	}
	of, err := scanning.Target(doc)
	if err != nil {
		return fail(err)
	}
	if _, err := scanning.Thresholds(doc); err != nil {
		return fail(err)
	}
	kept := found{r, doc.Name}
	s, err := registry.New(of, registry.Deps{
		Log: r.d.Log, Now: r.d.Now, Results: kept, Getenv: r.d.Getenv, ReadFile: r.d.ReadFile,
		Scan: func(ctx context.Context, job registry.Job) (*scan.Report, *registry.Kept, error) {
			k, err := r.d.Scanner.Read(ctx, job)
			if err != nil {
				return nil, nil, err
			}
			rep, err := r.assemble(k, []string{doc.Name})
			return rep, k, err
		},
		Done: func(sum registry.Summary) {
			t.set(func(v *console.ScanTarget) {
				v.State, v.Problem, v.Last = "waiting", t.deaf, sum.Ended
				v.Images, v.Scanned, v.Failed = sum.Images, sum.Scanned, len(sum.Failed)
			})
			r.tellSweep(doc.Name, sum)
			r.wake()
		},
		Trouble: func(err error) {
			t.set(func(v *console.ScanTarget) {
				v.State, v.Problem, v.Last = "failed", err.Error(), r.d.Now().UTC()
				if t.deaf != "" {
					v.Problem += "; " + t.deaf
				}
			})
			r.tellTrouble(doc.Name, doc.Spec.Registry, err)
			r.wake()
		},
	})
	if err != nil {
		return fail(err)
	}
	if w := doc.Spec.Webhook; w != nil {
		secret, err := r.secret(w)
		if err == nil {
			t.hook, err = registry.NewHook(secret, s.Push, r.d.Log)
		}
		if err != nil {
			// The schedule works without it, yet what was asked for is not there.
			t.deaf = err.Error()
			t.view.Problem = t.deaf
			r.tellTrouble(doc.Name, doc.Spec.Registry, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil && ctx.Err() == nil {
			t.set(func(v *console.ScanTarget) { v.State, v.Problem = "failed", err.Error() })
			r.wake()
		}
	}()
	t.stop = func() {
		cancel()
		<-done
	}
	return t
}

// secret reads what the registry must send with its notifications.
func (r *Room) secret(w *v1alpha1.ScanWebhook) (string, error) {
	if w.SecretEnv != "" {
		v := r.d.Getenv(w.SecretEnv)
		if v == "" {
			return "", fmt.Errorf("read secret of the webhook: the variable %s is empty", w.SecretEnv)
		}
		return v, nil
	}
	text, err := r.d.ReadFile(w.SecretFile)
	if err != nil {
		return "", fmt.Errorf("read secret of the webhook: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// thresholds are those of the named targets, as far as they are in force.
func (r *Room) thresholds(names []string) []decide.Thresholds {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []decide.Thresholds
	for _, name := range names {
		i := slices.IndexFunc(r.wanted, func(w *v1alpha1.ScanTarget) bool { return w.Name == name })
		if i < 0 {
			continue
		}
		// What cannot be read is the target's own trouble, told by start.
		if th, err := scanning.Thresholds(r.wanted[i]); err == nil && th != (decide.Thresholds{}) {
			out = append(out, th)
		}
	}
	return out
}

// ScanTargets implements console.Images.
func (r *Room) ScanTargets(context.Context) ([]console.ScanTarget, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]console.ScanTarget, 0, len(r.targets))
	for _, t := range r.targets {
		out = append(out, t.status())
	}
	slices.SortFunc(out, func(a, b console.ScanTarget) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Hook implements console.Images.
func (r *Room) Hook(name string) http.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.targets[name]; t != nil && t.hook != nil {
		return t.hook
	}
	return nil
}

// problems names the targets that do not do what they should.
func (r *Room) problems() error {
	list, _ := r.ScanTargets(context.Background())
	var errs []error
	for _, s := range list {
		switch {
		case s.Problem != "":
			errs = append(errs, fmt.Errorf("ScanTarget %s: %s", s.Name, s.Problem))
		case s.Failed > 0:
			errs = append(errs, fmt.Errorf("ScanTarget %s: %d of %d images could not be scanned", s.Name, s.Failed, s.Images))
		}
	}
	return errors.Join(errs...)
}
