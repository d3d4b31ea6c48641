package consoletest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
)

// Platform is the made-up node. It implements console.Platform.
type Platform struct {
	store *Memory
	start time.Time

	mu        sync.Mutex
	workloads []console.WorkloadDetail
	policies  []console.Policy
	acted     map[string]string // event of an action -> container
	serial    int
	// Fail, when set, is what every reading answers with.
	fail error
}

var _ console.Platform = (*Platform)(nil)

func newPlatform(now time.Time, m *Memory) *Platform {
	p := &Platform{store: m, start: now.Add(-3 * time.Hour), acted: map[string]string{}}
	p.workloads = workloads(now)
	p.policies = policies(now)
	for i := range p.workloads {
		w := &p.workloads[i]
		w.Containers = len(w.Running)
		w.Learned = len(w.Profile.Processes) + len(w.Profile.Egress) + len(w.Profile.Ingress)
	}
	history(now, m)
	return p
}

// SetFail makes every reading fail with err, or work again with nil.
func (p *Platform) SetFail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = err
}

// Overview implements console.Platform.
func (p *Platform) Overview(context.Context) (console.Overview, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := overview(p.start)
	for _, w := range p.workloads {
		n := len(w.Running)
		o.Coverage.Containers += n
		switch w.State {
		case "enforced":
			o.Coverage.Enforced += n
		case "monitored":
			o.Coverage.Monitored += n
		case "learning":
			o.Coverage.Learning += n
		case "blind":
			o.Coverage.Blind += n
			for _, c := range w.Running {
				o.Coverage.Unwatched = append(o.Coverage.Unwatched, console.Blind{
					Workload: w.Ref, ContainerID: c.ID, Container: c.Name, Section: "network",
					Why:    "The container uses the host's network, so its connections cannot be told from the host's own.",
					Remedy: "Run it in a network of its own, or take the network section out of its policy.",
				})
			}
		}
	}
	return o, p.fail
}

// Workloads implements console.Platform.
func (p *Platform) Workloads(context.Context) ([]console.Workload, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]console.Workload, 0, len(p.workloads))
	for _, w := range p.workloads {
		out = append(out, w.Workload)
	}
	return out, p.fail
}

// Workload implements console.Platform.
func (p *Platform) Workload(_ context.Context, namespace, name string) (console.WorkloadDetail, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workloads {
		if w.Ref.Namespace == namespace && w.Ref.Name == name {
			w.Running = slices.Clone(w.Running)
			return w, p.fail
		}
	}
	return console.WorkloadDetail{}, fmt.Errorf("workload %s/%s: %w", namespace, name, console.ErrNotFound)
}

// Policies implements console.Platform.
func (p *Platform) Policies(context.Context) ([]console.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.policies), p.fail
}

// Policy implements console.Platform.
func (p *Platform) Policy(_ context.Context, id string) (console.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.find(id); q != nil {
		return *q, p.fail
	}
	return console.Policy{}, fmt.Errorf("policy %s: %w", id, console.ErrNotFound)
}

func (p *Platform) find(id string) *console.Policy {
	if i := slices.IndexFunc(p.policies, func(q console.Policy) bool { return q.ID == id }); i >= 0 {
		return &p.policies[i]
	}
	return nil
}

// Lint implements console.Platform: it knows three mistakes.
func (p *Platform) Lint(_ context.Context, yaml []byte) ([]console.Problem, error) {
	var out []console.Problem
	for i, line := range strings.Split(string(yaml), "\n") {
		switch {
		case strings.Contains(line, "class: shel}"), strings.HasSuffix(line, "class: shel"):
			out = append(out, console.Problem{Severity: "error", Line: i + 1, Field: "spec.process.deny[0].class",
				Message: `there is no class "shel"`, Hint: "Did you mean shell?"})
		case strings.Contains(line, "proces:"):
			out = append(out, console.Problem{Severity: "error", Line: i + 1, Field: "spec.proces",
				Message: "unknown field", Hint: "Did you mean process?"})
		case strings.Contains(line, "/usr/bin/legacy"):
			out = append(out, console.Problem{Severity: "warning", Line: i + 1, Field: "spec.process.allow[3].path",
				Message: "no container that this policy selects has this file", Hint: "Remove the rule, or correct the path."})
		}
	}
	if !strings.Contains(string(yaml), "kind:") {
		out = append(out, console.Problem{Severity: "error", Line: 1, Field: "kind", Message: "is missing",
			Hint: "A policy begins with apiVersion: gabion.dev/v1alpha1 and kind: WorkloadPolicy."})
	}
	return out, nil
}

// Diff implements console.Platform by comparing lines with the policy in force.
func (p *Platform) Diff(ctx context.Context, yaml []byte) (string, error) {
	if err := p.refused(ctx, yaml); err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := idOf(yaml)
	old := ""
	if q := p.find(id); q != nil {
		old = q.Source
	}
	if old == string(yaml) {
		return "", nil
	}
	was, is := strings.Split(old, "\n"), strings.Split(string(yaml), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s (in force)\n+++ %s (proposed)\n", id, id)
	for _, l := range was {
		if !slices.Contains(is, l) {
			b.WriteString("-" + l + "\n")
		}
	}
	for _, l := range is {
		if slices.Contains(was, l) {
			b.WriteString(" " + l + "\n")
		} else {
			b.WriteString("+" + l + "\n")
		}
	}
	return b.String(), nil
}

func (p *Platform) refused(ctx context.Context, yaml []byte) error {
	problems, err := p.Lint(ctx, yaml)
	if err != nil {
		return err
	}
	problems = slices.DeleteFunc(problems, func(q console.Problem) bool { return q.Severity != "error" })
	if len(problems) > 0 {
		return &console.Problems{List: problems}
	}
	return nil
}

func idOf(yaml []byte) string {
	get := func(key string) string {
		for _, line := range strings.Split(string(yaml), "\n") {
			if i := strings.Index(line, key+": "); i >= 0 {
				v := line[i+len(key)+2:]
				if j := strings.IndexAny(v, ",}"); j >= 0 {
					v = v[:j]
				}
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	parts := []string{get("kind"), get("namespace"), get("name")}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// Apply implements console.Platform.
func (p *Platform) Apply(ctx context.Context, yaml []byte, actor string) ([]string, error) {
	if err := p.refused(ctx, yaml); err != nil {
		return nil, err
	}
	p.mu.Lock()
	id := idOf(yaml)
	if q := p.find(id); q != nil {
		q.Source = string(yaml)
	} else {
		kind, rest, _ := strings.Cut(id, "/")
		ns, name, _ := strings.Cut(rest, "/")
		p.policies = append(p.policies, console.Policy{ID: id, Kind: kind, Namespace: ns, Name: name, Mode: "Monitor",
			File: name + ".yaml", Line: 1, Source: string(yaml), Conditions: conditions(time.Now(), true, "")})
	}
	p.mu.Unlock()
	return []string{id}, p.note(ctx, event.PolicyChange, "Policy "+id+" was changed", actor)
}

// Delete implements console.Platform.
func (p *Platform) Delete(ctx context.Context, id, actor string) error {
	p.mu.Lock()
	n := len(p.policies)
	p.policies = slices.DeleteFunc(p.policies, func(q console.Policy) bool { return q.ID == id })
	gone := len(p.policies) < n
	p.mu.Unlock()
	if !gone {
		return fmt.Errorf("policy %s: %w", id, console.ErrNotFound)
	}
	return p.note(ctx, event.PolicyChange, "Policy "+id+" was removed", actor)
}

// Forecast implements console.Platform.
func (p *Platform) Forecast(_ context.Context, id, mode string) (console.Forecast, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.find(id)
	if q == nil {
		return console.Forecast{}, fmt.Errorf("policy %s: %w", id, console.ErrNotFound)
	}
	return forecast(p.start, q.ID, q.Mode, mode), nil
}

// Promote implements console.Platform.
func (p *Platform) Promote(ctx context.Context, id, mode, actor string) error {
	p.mu.Lock()
	q := p.find(id)
	if q != nil {
		q.Source = strings.Replace(q.Source, "mode: "+q.Mode, "mode: "+mode, 1)
		q.Mode = mode
	}
	p.mu.Unlock()
	if q == nil {
		return fmt.Errorf("policy %s: %w", id, console.ErrNotFound)
	}
	return p.note(ctx, event.PolicyPromote, "Policy "+id+" is in "+mode+" now", actor)
}

// Learn implements console.Platform.
func (p *Platform) Learn(ctx context.Context, namespace, name string) ([]byte, error) {
	w, err := p.Workload(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: gabion.dev/v1alpha1\nkind: WorkloadPolicy\nmetadata:\n  name: %s\n  namespace: %s\nspec:\n  selector:\n    workloads: [%s]\n  mode: Monitor\n  process:\n    drift: Deny\n    allow:\n", name, namespace, name)
	for _, q := range w.Profile.Processes {
		fmt.Fprintf(&b, "      - {path: %s}\n", q.Path)
	}
	return []byte(b.String()), nil
}

// Act implements console.Platform.
func (p *Platform) Act(ctx context.Context, containerID string, action console.Action, actor string) (event.Event, error) {
	p.mu.Lock()
	w, c := p.container(containerID)
	if c == nil {
		p.mu.Unlock()
		return event.Event{}, fmt.Errorf("container %s: %w", containerID, console.ErrNotFound)
	}
	err := act(w, c, action)
	ref, name := w.Ref, c.Name
	p.mu.Unlock()
	if err != nil {
		return event.Event{}, err
	}
	words := map[console.Action]string{console.Quarantine: "was cut off from every network", console.Release: "has its network back",
		console.Pause: "was paused", console.Resume: "goes on", console.Kill: "was killed"}
	e := p.event(event.ResponseAction, "Container "+name+" "+words[action], actor)
	e.Workload, e.ContainerID, e.Reasons = ref, containerID, []string{"manual"}
	e.Evidence = map[string]string{"action": string(action)}
	p.mu.Lock()
	switch key := containerID + " " + string(action); action {
	case console.Quarantine, console.Pause:
		e.Evidence["undo"] = e.ID
		p.acted[e.ID] = key
	case console.Release:
		p.ended(e.Evidence, containerID+" quarantine")
	case console.Resume:
		p.ended(e.Evidence, containerID+" pause")
	}
	p.mu.Unlock()
	_, err = p.store.Append(ctx, []event.Event{e})
	return e, err
}

// ended notes in evidence which action was in force and is no more.
func (p *Platform) ended(evidence map[string]string, key string) {
	for id, k := range p.acted {
		if k == key {
			evidence["undid"] = id
			delete(p.acted, id)
		}
	}
}

func act(w *console.WorkloadDetail, c *console.Container, action console.Action) error {
	switch action {
	case console.Quarantine:
		c.Quarantined = true
	case console.Release:
		if !c.Quarantined {
			return fmt.Errorf("container %s is not cut off: %w", c.Name, console.ErrConflict)
		}
		c.Quarantined = false
	case console.Pause:
		c.Paused = true
	case console.Resume:
		c.Paused = false
	case console.Kill:
		w.Running = slices.DeleteFunc(slices.Clone(w.Running), func(o console.Container) bool { return o.ID == c.ID })
		w.Containers = len(w.Running)
	default:
		return fmt.Errorf("action %q: %w", action, console.ErrRefused)
	}
	w.Quarantined = slices.ContainsFunc(w.Running, func(o console.Container) bool { return o.Quarantined })
	return nil
}

func (p *Platform) container(id string) (*console.WorkloadDetail, *console.Container) {
	for i := range p.workloads {
		for j := range p.workloads[i].Running {
			if p.workloads[i].Running[j].ID == id {
				return &p.workloads[i], &p.workloads[i].Running[j]
			}
		}
	}
	return nil, nil
}

// Undo implements console.Platform.
func (p *Platform) Undo(ctx context.Context, eventID, actor string) error {
	p.mu.Lock()
	id, action, _ := strings.Cut(p.acted[eventID], " ")
	p.mu.Unlock()
	back := map[string]console.Action{"quarantine": console.Release, "pause": console.Resume}[action]
	if back == "" {
		return fmt.Errorf("event %s is no action that can be undone: %w", eventID, console.ErrConflict)
	}
	_, err := p.Act(ctx, id, back, actor)
	return err
}

// note appends an event of something done on purpose.
func (p *Platform) note(ctx context.Context, kind event.Kind, message, actor string) error {
	_, err := p.store.Append(ctx, []event.Event{p.event(kind, message, actor)})
	return err
}

func (p *Platform) event(kind event.Kind, message, actor string) event.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	now := time.Now().UTC()
	return event.Event{ID: fmt.Sprintf("done-%d", p.serial), Kind: kind, First: now, Last: now, Count: 1, Severity: event.Low,
		Message: message, Node: "dock-1", Actor: actor, Mechanism: "respond"}
}
