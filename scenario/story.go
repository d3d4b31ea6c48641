package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/scenario/lab"
	"github.com/gabion-dev/gabion/scenario/stratum"
)

// Namespaces of the two phases. They differ so that nothing that the attack
// did in the first is ever learned as ordinary behaviour of the second.
const (
	namespaceBefore = "demo-before"
	namespace       = "demo"
)

// shareBits is how hard a share is: about 65,000 hashes, some hundredths of a
// second on one thread.
const shareBits = 16

// story is one run: the network, the images, the pool, the policies.
type story struct {
	opts     Options
	platform Platform
	began    time.Time
	dir      string

	net      *lab.Net
	images   *images
	cred     credentials
	attacker *lab.Place
	users    *lab.Place
	pool     *stratum.Pool
	servers  sync.WaitGroup
	closers  []func()

	reached       time.Duration // how long the front page took in the first attack
	before, after *stack
	policies      []string // ids that are applied now
	result        *Result
}

// newStory builds what both phases share. On error nothing is left.
func newStory(ctx context.Context, o Options, p Platform) (*story, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s := &story{opts: o, platform: p, began: o.Now(), pool: stratum.NewPool(shareBits)}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// say prints progress.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.opts.Out, "[%5.1fs] %s\n", s.opts.Now().Sub(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// tell is the story: attack without protection, ordinary days, policies, attack
// with protection, ordinary days again.
func (s *story) tell(ctx context.Context) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, storyLimit)
	defer cancel()
	all := steps()
	s.result = &Result{Steps: make([]StepResult, len(all)), Layers: s.opts.Layers}
	for i, st := range all {
		s.result.Steps[i] = StepResult{ID: st.id, Title: st.title, Technique: strings.Join(st.techniques, ", ")}
	}
	if err := s.unprotected(ctx, all); err != nil {
		return nil, err
	}
	if err := s.learn(ctx); err != nil {
		return nil, err
	}
	if err := s.protected(ctx, all); err != nil {
		return nil, err
	}
	if err := s.ordinary(ctx); err != nil {
		return nil, err
	}
	s.result.judge(all, &s.opts)
	return s.result, nil
}

// watchPolicy is in force while the attack goes on without protection: it
// reports and hinders nothing.
const watchPolicy = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: watch, namespace: ` + namespaceBefore + `}
spec:
  selector: {}
  mode: Monitor
  process:
    drift: Deny
`

func (s *story) unprotected(ctx context.Context, all []step) error {
	s.say("without protection: five containers, policies only watch (Monitor)")
	if err := s.platform.Apply(ctx, []byte(watchPolicy)); err != nil {
		return fmt.Errorf("apply policy that watches: %w", err)
	}
	s.policies = []string{"WorkloadPolicy/" + namespaceBefore + "/watch"}
	s.before = s.newStack(namespaceBefore)
	if err := s.before.start(ctx, string(v1alpha1.Monitor)); err != nil {
		return err
	}
	a := s.newAttack(s.before, maxPatience)
	for i, st := range all {
		a.trace.reset(s.opts.Now())
		ok, detail, err := st.try(ctx, a)
		if st.id == "A1" {
			s.reached = s.opts.Now().Sub(a.trace.began)
		}
		if err != nil {
			return fmt.Errorf("step %s without protection: %w", st.id, err)
		}
		word := Failed
		if ok {
			word = Succeeded
		}
		s.result.Steps[i].Unprotected = word
		s.say("  %-3s %s: %s (%s)", st.id, st.title, word, detail)
	}
	s.result.Shares.Unprotected = s.pool.Shares()
	if err := s.before.close(ctx); err != nil {
		return err
	}
	return s.withdraw(ctx)
}

// learn runs the ordinary operations once on fresh containers and turns what
// the platform learned into policies.
func (s *story) learn(ctx context.Context) error {
	s.say("fresh containers, an ordinary day, Gabion learns")
	s.after = s.newStack(namespace)
	if err := s.after.start(ctx, string(v1alpha1.Learn)); err != nil {
		return err
	}
	who := s.people(s.after, v1alpha1.Learn)
	for _, op := range operations() {
		if err := op.run(ctx, who); err != nil {
			return fmt.Errorf("%w: %s does not work while learning: %w", errBroken, op.title, err)
		}
	}
	var docs bytes.Buffer
	var ids []string
	for _, svc := range services() {
		doc, err := s.platform.LearnPolicy(ctx, s.after.ref(svc.name), v1alpha1.Protect)
		if err != nil {
			return fmt.Errorf("learn policy of %s: %w", svc.name, err)
		}
		id, doc, err := withLayers(doc, &s.opts)
		if err != nil {
			return fmt.Errorf("learn policy of %s: %w", svc.name, err)
		}
		docs.WriteString("---\n")
		docs.Write(bytes.TrimPrefix(doc, []byte("---\n")))
		docs.WriteString("\n")
		ids = append(ids, id)
	}
	s.say("what was learned becomes policy in Protect: %s", strings.Join(s.opts.Layers, ", "))
	if err := s.platform.Apply(ctx, docs.Bytes()); err != nil {
		return fmt.Errorf("apply learned policies: %w", err)
	}
	s.policies = ids
	g, ctx := errgroup.WithContext(ctx)
	for _, svc := range services() {
		g.Go(func() error {
			i := s.after.get(svc.name)
			if err := s.platform.AwaitCovered(ctx, i.id, string(v1alpha1.Protect)); err != nil {
				return fmt.Errorf("container %s is not covered in mode Protect: %w", svc.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *story) protected(ctx context.Context, all []step) error {
	s.say("the same attack again")
	o := &observer{platform: s.platform, namespace: namespace, since: s.opts.Now()}
	a := s.newAttack(s.after, patienceAfter(s.reached))
	start := s.pool.Shares()
	for i, st := range all {
		before, err := o.counts(ctx)
		if err != nil {
			return err
		}
		a.trace.reset(s.opts.Now())
		ok, detail, err := st.try(ctx, a)
		if err != nil {
			return fmt.Errorf("step %s with protection: %w", st.id, err)
		}
		row := &s.result.Steps[i]
		if err := o.fillRow(ctx, row, st, a, before, ok); err != nil {
			return err
		}
		why := row.StoppedBy
		if why == "" {
			why = detail
		}
		// The policy that decided is in the table and in the events.
		mechanism, _, _ := strings.Cut(why, " (")
		s.say("  %-3s %s: %s, %s", st.id, st.title, row.Protected, mechanism)
	}
	s.result.Shares.Protected = s.pool.Shares() - start
	return nil
}

// fillRow writes down how a step of the protected phase ended.
func (o *observer) fillRow(ctx context.Context, row *StepResult, st step, a *attack, before counts, succeeded bool) error {
	wait, effects := explainWait, []event.Effect{event.Blocked}
	if succeeded {
		wait, effects = noticeWait, []event.Effect{event.Blocked, event.WouldBlock, event.NotBlocked}
	}
	e, found, err := o.explain(ctx, st, &a.trace, before, wait, effects...)
	if err != nil {
		return err
	}
	if found {
		row.LatencyMS = a.trace.latency(e, before).Milliseconds()
	}
	switch {
	case succeeded && found:
		row.Protected = Detected
	case succeeded:
		row.Protected = Succeeded
	case found:
		row.Protected, row.StoppedBy = Stopped, cause(e)
	default:
		row.Protected, row.StoppedBy = Failed, Unexplained
	}
	return nil
}

// ordinary makes the fifty operations under protection and counts what was
// hindered: an operation that failed, or one that went on although something
// of it was blocked.
func (s *story) ordinary(ctx context.Context) error {
	s.say("fifty ordinary operations")
	o := &observer{platform: s.platform, namespace: namespace, since: s.opts.Now()}
	before, err := o.counts(ctx)
	if err != nil {
		return err
	}
	who := s.people(s.after, v1alpha1.Protect)
	failed := 0
	for _, op := range operations() {
		s.result.Benign.Run++
		if err := op.run(ctx, who); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed++
			s.result.problem("%s failed: %v", op.title, err)
			s.say("  %s: %v", op.title, err)
		}
	}
	// What was blocked may be readable only a moment later.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(noticeWait / 2):
	}
	blocked, err := o.blockedSince(ctx, before)
	if err != nil {
		return err
	}
	for _, e := range blocked {
		s.result.problem("blocked on an ordinary day: %s", e.Message)
	}
	s.result.Benign.Blocked = min(max(failed, len(blocked)), s.result.Benign.Run)
	s.say("  %d of %d undisturbed", s.result.Benign.Run-s.result.Benign.Blocked, s.result.Benign.Run)
	return nil
}

// blockedSince gives the causes that were blocked in this observer's time,
// those with the attacker's or the pool's address left out: packets of broken
// connections may still arrive from there.
func (o *observer) blockedSince(ctx context.Context, before counts) ([]event.Event, error) {
	events, err := o.events(ctx)
	if err != nil {
		return nil, err
	}
	hostile := map[netip.Addr]bool{}
	for _, a := range []string{attackerAddr, attackerAddr6, poolAddr, poolAddr6} {
		hostile[netip.MustParseAddr(a)] = true
	}
	var out []event.Event
	for _, e := range events {
		if e.Effect != event.Blocked || e.Count <= before[e.ID] || e.Last.Before(o.since) {
			continue
		}
		if e.Peer != nil && hostile[e.Peer.Addr.Unmap()] {
			continue
		}
		out = append(out, e)
	}
	return out, nil
}

// stay makes light ordinary traffic until ctx ends.
func (s *story) stay(ctx context.Context) {
	who := s.people(s.after, v1alpha1.Protect)
	var ops []operation
	for _, op := range operations() {
		if !op.restarts {
			ops = append(ops, op)
		}
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A stride that visits all kinds in turn.
		op := ops[n*7%len(ops)]
		if err := op.run(ctx, who); err != nil && ctx.Err() == nil {
			s.opts.Log.Warn("ordinary operation failed", "operation", op.title, "error", err)
		}
	}
}

func (s *story) newStack(ns string) *stack {
	return newStack(ns, s.images, s.net, filepath.Join(s.dir, "containers"), s.opts.StateDir, s.platform)
}

func (s *story) newAttack(st *stack, patience time.Duration) *attack {
	return &attack{stack: st, attacker: s.attacker, pool: s.pool, binary: s.opts.Binary, secret: s.cred.secret,
		now: s.opts.Now, patience: patience, dropped: map[string]bool{}}
}

func (s *story) people(st *stack, mode v1alpha1.Mode) *people {
	at := func(a string) from { return from{place: s.users, addr: netip.MustParseAddr(a)} }
	return &people{stack: st, mode: string(mode), edge: at(edgeAddr), edge6: at(edgeAddr6), office: at(officeAddr),
		node: from{place: s.net.Router()}}
}

// withdraw takes the applied policies away.
func (s *story) withdraw(ctx context.Context) error {
	if len(s.policies) == 0 {
		return nil
	}
	if err := s.platform.Remove(ctx, s.policies...); err != nil {
		return fmt.Errorf("remove policies: %w", err)
	}
	s.policies = nil
	return nil
}

// close takes everything down. It works also when ctx has ended, and for a
// story that was only half built.
func (s *story) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	var errs []error
	for _, st := range []*stack{s.before, s.after} {
		if st != nil {
			errs = append(errs, st.close(ctx))
		}
	}
	errs = append(errs, s.withdraw(ctx))
	for _, c := range s.closers {
		c()
	}
	s.pool.Close()
	s.servers.Wait()
	if s.net != nil {
		errs = append(errs, s.net.Close())
	}
	if s.dir != "" {
		errs = append(errs, removeAll(s.dir))
	}
	return errors.Join(errs...)
}
