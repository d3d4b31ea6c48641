package respond

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
)

// Bounds of one evaluation: far more than any sensible rule needs, far less
// than would be felt.
const (
	costLimit = 100_000
	timeLimit = 100 * time.Millisecond
)

// View is an event as rules see it, named "event": the same names as in the
// event's JSON, every field always there (empty when the event has none), so
// that a rule never has to ask whether it may look.
type View struct {
	ID           string            `cel:"id"`
	Kind         string            `cel:"kind"`
	First        time.Time         `cel:"first"`
	Last         time.Time         `cel:"last"`
	Count        int64             `cel:"count"`
	Severity     string            `cel:"severity"`
	SeverityRank int64             `cel:"severityRank"` // 0 info ... 4 critical
	Verdict      string            `cel:"verdict"`
	Effect       string            `cel:"effect"`
	Mode         string            `cel:"mode"`
	Message      string            `cel:"message"`
	Node         string            `cel:"node"`
	Workload     RefView           `cel:"workload"`
	ContainerID  string            `cel:"containerID"`
	Container    string            `cel:"container"`
	Image        string            `cel:"image"`
	Process      ProcessView       `cel:"process"`
	Path         string            `cel:"path"`
	Peer         PeerView          `cel:"peer"`
	Reasons      []string          `cel:"reasons"`
	Rule         RuleView          `cel:"rule"`
	Technique    []string          `cel:"technique"`
	Mechanism    string            `cel:"mechanism"`
	Evidence     map[string]string `cel:"evidence"`
	Actor        string            `cel:"actor"`
}

// RefView is a workload.
type RefView struct {
	Namespace string `cel:"namespace"`
	Name      string `cel:"name"`
	Kind      string `cel:"kind"`
}

// ProcessView is the process that did it.
type ProcessView struct {
	PID        int64    `cel:"pid"`
	PPID       int64    `cel:"ppid"`
	UID        int64    `cel:"uid"`
	Exe        string   `cel:"exe"`
	Args       []string `cel:"args"`
	ParentExe  string   `cel:"parentExe"`
	ParentArgs []string `cel:"parentArgs"`
}

// PeerView is the other end of a connection; the address is text.
type PeerView struct {
	Addr      string  `cel:"addr"`
	Port      int64   `cel:"port"`
	Protocol  string  `cel:"protocol"`
	LocalPort int64   `cel:"localPort"`
	Workload  RefView `cel:"workload"`
}

// RuleView is the line of policy that decided.
type RuleView struct {
	Policy string `cel:"policy"`
	Field  string `cel:"field"`
	File   string `cel:"file"`
	Line   int64  `cel:"line"`
}

func viewOf(e *event.Event) *View {
	v := &View{
		ID: e.ID, Kind: string(e.Kind), First: e.First, Last: e.Last, Count: int64(min(e.Count, 1<<62)),
		Severity: string(e.Severity), SeverityRank: int64(e.Severity.Rank()), Verdict: string(e.Verdict), Effect: string(e.Effect),
		Mode: e.Mode, Message: e.Message, Node: e.Node, Workload: RefView(e.Workload), ContainerID: e.ContainerID,
		Container: e.Container, Image: e.Image, Path: e.Path, Reasons: e.Reasons, Technique: e.Technique,
		Mechanism: e.Mechanism, Evidence: e.Evidence, Actor: e.Actor,
	}
	if p := e.Process; p != nil {
		v.Process = ProcessView{int64(p.PID), int64(p.PPID), int64(p.UID), p.Exe, p.Args, p.ParentExe, p.ParentArgs}
	}
	if p := e.Peer; p != nil {
		v.Peer = PeerView{Port: int64(p.Port), Protocol: p.Protocol, LocalPort: int64(p.LocalPort), Workload: RefView(p.Workload)}
		if p.Addr.IsValid() {
			v.Peer.Addr = p.Addr.String()
		}
	}
	if r := e.Rule; r != nil {
		v.Rule = RuleView{r.Policy, r.Field, r.File, int64(r.Line)}
	}
	return v
}

// newEnv is the language of rules: CEL with text functions and one variable.
func newEnv() (*cel.Env, error) {
	return cel.NewEnv(
		ext.NativeTypes(reflect.TypeFor[View](), ext.ParseStructTags(true)),
		ext.Strings(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(100),
		cel.ParserExpressionSizeLimit(v1alpha1.MaxMatchBytes),
		cel.Variable("event", cel.ObjectType("respond.View")),
	)
}

// CheckCEL says what is wrong with a match expression, or nil.
func CheckCEL(expr string) error {
	_, err := compile(expr)
	return err
}

// Check is CheckCEL for a whole document, as a v1alpha1.Validator. It has
// nothing to say of other kinds.
func Check(o v1alpha1.Object) []*v1alpha1.Error {
	p, ok := o.(*v1alpha1.ResponsePolicy)
	if !ok || strings.TrimSpace(p.Spec.Match) == "" {
		return nil
	}
	if err := CheckCEL(p.Spec.Match); err != nil {
		return []*v1alpha1.Error{{
			Field: "spec.match", Reason: err.Error(),
			Hint: `an expression that is true or false, over the fields of event: event.kind == "process.drift" && event.severityRank >= 3`,
		}}
	}
	return nil
}

var _ v1alpha1.Validator = Check

type matcher struct{ prog cel.Program }

func compile(expr string) (*matcher, error) {
	env, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	ast, issues := env.Compile(expr)
	if issues.Err() != nil {
		var said []string
		for _, e := range issues.Errors() {
			said = append(said, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, strings.ReplaceAll(e.Message, "respond.View", "event")))
		}
		return nil, errors.New(strings.Join(said, "; "))
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("the expression gives %s, not true or false", ast.OutputType())
	}
	prog, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, err
	}
	return &matcher{prog}, nil
}

// matches evaluates the rule. An error means that the rule said nothing.
func (m *matcher) matches(ctx context.Context, v *View) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	out, _, err := m.prog.ContextEval(ctx, map[string]any{"event": v})
	if err != nil {
		return false, err
	}
	yes, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the expression gave %v", out.Type())
	}
	return yes, nil
}
