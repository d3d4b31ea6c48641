package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/folder"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/guard/agent"
	"github.com/gabion-dev/gabion/guard/profile"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/respond"
	"github.com/gabion-dev/gabion/workload"
)

// Policies implements console.Platform.
func (p *Platform) Policies(context.Context) ([]console.Policy, error) {
	st := p.current()
	if st.Set == nil {
		return nil, nil
	}
	containers := p.agent.Containers()
	var out []console.Policy
	for _, d := range st.Set.Documents() {
		out = append(out, p.policyView(d, containers))
	}
	// Files that were refused and have no content in force are shown too: what
	// someone wrote and does not count must not look as if it did.
	byFile := map[string][]console.Problem{}
	for _, problem := range st.Problems {
		v := problemView(problem)
		byFile[v.File] = append(byFile[v.File], v)
	}
	for file, problems := range byFile {
		out = append(out, console.Policy{
			ID: "file/" + file, Kind: "File", Name: file, File: file, Problems: problems, Workloads: []string{},
			Conditions: []console.Condition{{Type: "Ready", Status: false, Reason: "Refused", Message: refusedWords(slices.Contains(st.Kept, file))}},
		})
	}
	return out, nil
}

func refusedWords(kept bool) string {
	if kept {
		return "the file has faults; its last good content stays in force"
	}
	return "the file has faults; what is faulty in it is not in force"
}

// Policy implements console.Platform.
func (p *Platform) Policy(ctx context.Context, id string) (console.Policy, error) {
	if file, ok := strings.CutPrefix(id, "file/"); ok {
		list, err := p.Policies(ctx)
		if i := slices.IndexFunc(list, func(v console.Policy) bool { return v.ID == "file/"+file }); err == nil && i >= 0 {
			return list[i], nil
		}
		return console.Policy{}, fmt.Errorf("find policy %s: %w", id, console.ErrNotFound)
	}
	d := p.set().Get(id)
	if d == nil {
		return console.Policy{}, fmt.Errorf("find policy %s: %w", id, console.ErrNotFound)
	}
	v := p.policyView(d, p.agent.Containers())
	v.Source = string(d.Source)
	return v, nil
}

func (p *Platform) policyView(d *v1alpha1.Document, containers []agent.Status) console.Policy {
	t, m := d.Object.Meta()
	id := v1alpha1.ID(d.Object)
	v := console.Policy{ID: id, Kind: t.Kind, Namespace: v1alpha1.Namespace(d.Object), Name: m.Name, File: d.File, Line: d.Line,
		Workloads: []string{}, Problems: []console.Problem{}, Conditions: []console.Condition{}}
	p.mu.Lock()
	since := p.loadedAt[id]
	p.mu.Unlock()
	spec := workloadSpec(d.Object)
	if spec == nil {
		v.Conditions = append(v.Conditions, console.Condition{Type: "Ready", Status: true, Reason: "Loaded", Since: since})
		if r, ok := d.Object.(*v1alpha1.ResponsePolicy); ok {
			v.Mode = string(r.Spec.Mode)
		}
		return v
	}
	v.Mode = string(spec.Mode)
	applied, degraded := 0, []string{}
	for _, st := range containers {
		if st.Plan == nil || !slices.Contains(st.Plan.Policies, id) {
			continue
		}
		v.Containers++
		if name := st.Container.Workload.String(); !slices.Contains(v.Workloads, name) {
			v.Workloads = append(v.Workloads, name)
		}
		if st.Applied && st.Blind == "" {
			applied++
		}
		if st.Blind != "" {
			degraded = append(degraded, st.Container.Short()+": "+st.Blind)
		}
		for _, c := range st.Coverage {
			if c.Degraded != "" && c.Mechanism != "none" {
				degraded = append(degraded, st.Container.Short()+" "+c.Section+": "+c.Degraded)
			}
		}
	}
	ready := console.Condition{Type: "Ready", Status: true, Reason: "Loaded", Since: since}
	enforced := console.Condition{Type: "Enforced", Status: applied == v.Containers && v.Containers > 0, Reason: "Applied", Since: since,
		Message: fmt.Sprintf("%d of %d containers", applied, v.Containers)}
	if v.Containers == 0 {
		enforced.Reason, enforced.Message = "NoContainers", "selects no container that runs here now"
	} else if !enforced.Status {
		enforced.Reason = "Blind"
	} else if spec.Mode != v1alpha1.Protect {
		enforced.Status, enforced.Reason = false, string(spec.Mode)
		enforced.Message = fmt.Sprintf("%d containers are watched; this mode blocks nothing", applied)
	}
	worse := console.Condition{Type: "Degraded", Status: len(degraded) > 0, Since: since}
	if len(degraded) > 0 {
		worse.Reason, worse.Message = "LessThanWanted", strings.Join(degraded[:min(len(degraded), 5)], "; ")
	}
	v.Conditions = append(v.Conditions, ready, enforced, worse)
	for _, f := range p.findings() {
		if f.Policy == id {
			v.Problems = append(v.Problems, findingView(f))
		}
	}
	return v
}

func workloadSpec(o v1alpha1.Object) *v1alpha1.WorkloadPolicySpec {
	switch x := o.(type) {
	case *v1alpha1.WorkloadPolicy:
		return &x.Spec
	case *v1alpha1.ClusterWorkloadPolicy:
		return &x.Spec
	}
	return nil
}

func problemView(err error) console.Problem {
	var e *v1alpha1.Error
	if errors.As(err, &e) {
		return console.Problem{Severity: "error", File: e.File, Line: e.Line, Column: e.Column, Field: e.Field, Message: e.Reason, Hint: e.Hint}
	}
	return console.Problem{Severity: "error", Message: err.Error()}
}

// refused turns faults of documents into the console's error.
func refused(err error) error {
	var r *folder.Refused
	if !errors.As(err, &r) {
		return err
	}
	out := &console.Problems{}
	for _, e := range r.Problems {
		v := problemView(e)
		v.File = ""
		out.List = append(out.List, v)
	}
	return out
}

// Apply implements console.Platform.
func (p *Platform) Apply(ctx context.Context, yaml []byte, actor string) ([]string, error) {
	p.edits.Lock()
	defer p.edits.Unlock()
	ids, err := p.folder.Put(yaml)
	if err != nil {
		return nil, refused(err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("apply policy: the text has no document: %w", console.ErrRefused)
	}
	p.log.Info("policies applied", "ids", ids, "actor", actor)
	return ids, p.reload(ctx)
}

// Delete implements console.Platform.
func (p *Platform) Delete(ctx context.Context, id, actor string) error {
	p.edits.Lock()
	defer p.edits.Unlock()
	if err := p.folder.Delete(id); err != nil {
		if errors.Is(err, folder.ErrNoDocument) {
			return fmt.Errorf("%w: %w", console.ErrNotFound, err)
		}
		return err
	}
	p.log.Info("policy deleted", "id", id, "actor", actor)
	return p.reload(ctx)
}

// Promote implements console.Platform.
func (p *Platform) Promote(ctx context.Context, id, mode, actor string) error {
	if !slices.Contains([]string{string(v1alpha1.Learn), string(v1alpha1.Monitor), string(v1alpha1.Protect)}, mode) {
		return fmt.Errorf("set mode %q: %w: use Learn, Monitor or Protect", mode, console.ErrRefused)
	}
	before, err := p.Policy(ctx, id)
	if err != nil {
		return err
	}
	p.edits.Lock()
	defer p.edits.Unlock()
	if err := p.folder.SetMode(id, mode); err != nil {
		if errors.Is(err, folder.ErrNoDocument) {
			return fmt.Errorf("%w: %w", console.ErrNotFound, err)
		}
		return refused(err)
	}
	ev := p.health("promote-"+id+time.Now().String(), event.Low, fmt.Sprintf("%s set %s from %s to %s", actor, id, before.Mode, mode))
	ev.Kind, ev.Actor, ev.Mode = event.PolicyPromote, actor, mode
	ev.Rule = &event.RuleRef{Policy: id, File: before.File, Line: before.Line}
	p.recorder.Record(ev)
	return p.reload(ctx)
}

// reload takes the folder's present content into force at once.
func (p *Platform) reload(ctx context.Context) error {
	st, err := p.folder.Read()
	if err != nil {
		return err
	}
	// The change outlives the request that made it.
	p.load(context.WithoutCancel(ctx), st)
	return nil
}

// Act implements console.Platform.
func (p *Platform) Act(ctx context.Context, containerID string, action console.Action, actor string) (event.Event, error) {
	st, err := p.agent.Container(containerID)
	if err != nil {
		return event.Event{}, notFound(err)
	}
	var ev event.Event
	switch action {
	case console.Release:
		ev, err = p.responder.Release(ctx, respond.Quarantine, st.Container.ID, actor)
	case console.Resume:
		ev, err = p.responder.Release(ctx, respond.Pause, st.Container.ID, actor)
	default:
		ev, err = p.responder.Act(ctx, respond.Action(action), st.Container, actor, 0)
	}
	return ev, conflict(err)
}

// Undo implements console.Platform.
func (p *Platform) Undo(ctx context.Context, eventID, actor string) error {
	_, err := p.responder.Undo(ctx, eventID, actor)
	return conflict(err)
}

// findings are the lint findings of everything in force. They are computed
// once for a state of policies and containers, not once for each look.
func (p *Platform) findings() []policy.Finding {
	set, containers := p.set(), p.containers()
	p.lint.mu.Lock()
	defer p.lint.mu.Unlock()
	now := time.Now()
	if p.lint.set != set || now.Sub(p.lint.at) > 5*time.Second {
		p.lint.set, p.lint.at, p.lint.list = set, now, policy.Lint(set, containers, now)
	}
	return p.lint.list
}

// linted is the answer of the last lint.
type linted struct {
	mu   sync.Mutex
	set  *policy.Set
	at   time.Time
	list []policy.Finding
}

func findingView(f policy.Finding) console.Problem {
	return console.Problem{Severity: "warning", File: f.Rule.File, Line: f.Rule.Line, Field: f.Rule.Field, Message: f.Reason, Hint: f.Hint}
}

func (p *Platform) containers() []workload.Container { return p.agent.Neighbourhood().Containers() }

// Lint implements console.Platform.
func (p *Platform) Lint(_ context.Context, yaml []byte) ([]console.Problem, error) {
	set, problems := policy.Load([]policy.File{{Data: yaml}}, respond.Check)
	out := []console.Problem{}
	for _, e := range problems {
		out = append(out, problemView(e))
	}
	if len(problems) == 0 {
		for _, f := range policy.Lint(set, p.containers(), time.Now()) {
			out = append(out, findingView(f))
		}
	}
	return out, nil
}

// Diff implements console.Platform.
func (p *Platform) Diff(_ context.Context, yaml []byte) (string, error) {
	given, problems := policy.Load([]policy.File{{Data: yaml}}, respond.Check)
	if len(problems) > 0 {
		return "", refused(&folder.Refused{Problems: problems})
	}
	// The set that would be in force: what is, with the given documents in place
	// of those of the same identifier.
	before := p.set()
	files := []policy.File{{Data: yaml}}
	for _, d := range before.Documents() {
		if given.Get(v1alpha1.ID(d.Object)) == nil {
			files = append(files, policy.File{Name: d.File, Data: d.Source})
		}
	}
	after, problems := policy.Load(files, respond.Check)
	if len(problems) > 0 {
		return "", refused(&folder.Refused{Problems: problems})
	}
	d, err := policy.Diff(before, after, p.containers(), time.Now())
	if err != nil {
		return "", err
	}
	return d.Text(), nil
}

// Forecast implements console.Platform.
func (p *Platform) Forecast(ctx context.Context, id, mode string) (console.Forecast, error) {
	v, err := p.Policy(ctx, id)
	if err != nil {
		return console.Forecast{}, err
	}
	out := console.Forecast{Policy: id, From: v.Mode, To: mode, Items: []console.ForecastItem{}, Evidence: []console.Evidence{}, Ready: true}
	done := map[workload.Ref]bool{}
	for _, st := range p.agent.Containers() {
		ref := st.Container.Workload
		if st.Plan == nil || done[ref] || !slices.Contains(st.Plan.Policies, id) {
			continue
		}
		done[ref] = true
		past := policy.Past{Containers: p.containers(), Node: p.agent.Neighbourhood().NodeAddresses()}
		if prof, ok := p.agent.Profile(ref); ok {
			past.Profile = &prof
		}
		page, err := p.store.Events(ctx, store.Query{Namespace: ref.Namespace, Workload: ref.Name, Kinds: []event.Kind{"process", "network", "file", "capability", "hardening"}, Limit: store.MaxPage})
		if err != nil {
			return out, err
		}
		past.Events = page.Events
		f := policy.Forecast(st.Plan, past)
		out.Judged += f.Judged
		out.WouldBlock += f.WouldBlock
		out.Ready = out.Ready && f.Ready
		if out.Since.IsZero() || !f.Since.IsZero() && f.Since.Before(out.Since) {
			out.Since = f.Since
		}
		for _, it := range f.Items {
			rule := it.Rule
			out.Items = append(out.Items, console.ForecastItem{Kind: it.Kind, Workload: ref, What: it.What, Reasons: it.Reasons, Rule: &rule, Count: it.Count, Last: it.Last})
		}
		for _, e := range f.Evidence {
			name := e.Name
			if len(done) > 1 || v.Containers > 1 {
				name = ref.String() + ": " + e.Name
			}
			out.Evidence = append(out.Evidence, console.Evidence{Name: name, Have: e.Have, Want: e.Want, Met: e.Met})
		}
		out.Summary = f.Summary
	}
	const most = 200
	out.Items = out.Items[:min(len(out.Items), most)]
	switch {
	case len(done) == 0:
		out.Ready, out.Summary = false, "It selects no workload that runs here now, so there is nothing to judge by."
	case len(done) > 1:
		out.Summary = fmt.Sprintf("%d of %d behaviours of %d workloads would have been blocked.", out.WouldBlock, out.Judged, len(done))
	}
	return out, nil
}

// Learn implements console.Platform.
func (p *Platform) Learn(_ context.Context, namespace, name string) ([]byte, error) {
	return p.learn(workload.Ref{Namespace: namespace, Name: name}, v1alpha1.Monitor)
}

func (p *Platform) learn(ref workload.Ref, mode v1alpha1.Mode) ([]byte, error) {
	prof, ok := p.agent.Profile(ref)
	if !ok {
		return nil, fmt.Errorf("learn policy of %s: nothing was seen of it yet: %w", ref, console.ErrNotFound)
	}
	l, err := policy.Learn(&prof, policy.LearnOptions{Mode: mode, Node: p.agent.Neighbourhood().NodeAddresses(),
		NoProcess: p.kernel.engine == nil, NoNetwork: p.kernel.firewall == nil, Images: p.imagesOf(ref)})
	if err != nil {
		return nil, err
	}
	return l.YAML, nil
}

// imagesOf names the images that a workload's containers run now; nil when it
// has none, and what it ran last counts.
func (p *Platform) imagesOf(ref workload.Ref) []string {
	var out []string
	for _, st := range p.agent.Containers() {
		if c := st.Container; c.Workload.Namespace == ref.Namespace && c.Workload.Name == ref.Name {
			out = append(out, profile.ImageKey(&c))
		}
	}
	return out
}

// conflict turns the responder's words into the console's.
func conflict(err error) error {
	switch {
	case errors.Is(err, respond.ErrGone):
		return fmt.Errorf("%w: %w", console.ErrNotFound, err)
	case errors.Is(err, respond.ErrNotActive):
		return fmt.Errorf("%w: %w", console.ErrConflict, err)
	case errors.Is(err, respond.ErrNotPossible):
		return fmt.Errorf("%w: %w", console.ErrRefused, err)
	}
	return notFound(err)
}
