package detect

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
)

// Bounds of expressions. The cost is CEL's own estimate of the worst case, made
// once when the expression is read: counting while it runs would cost more than
// most expressions do.
const (
	maxCost       = 500_000
	maxExpression = 4096
	maxArgs       = 64
	maxArgument   = maxLine / maxArgs // on average: the line is bounded
)

// Variable is a word of the language of detections.
type Variable struct{ Name, Type, Text string }

// Variables are the words that expressions may use, in the order of the
// documentation.
func Variables() []Variable {
	return []Variable{
		{"program", "string", "name the process acts under: the applet, else the base name of its file"},
		{"exe", "string", "path of the process's program, as the container sees it"},
		{"args", "list(string)", "arguments, the program's own name first, at most 64"},
		{"line", "string", "the arguments joined by spaces, at most 4,096 bytes"},
		{"parent", "string", "base name of the program that started it; empty when unknown"},
		{"parentLine", "string", "the starter's arguments joined by spaces, when they were seen"},
		{"above", "list(string)", "base names of the programs above it, the starter first, as far as known (at most 8)"},
		{"classes", "list(string)", "classes and groups of the program"},
		{"parentClasses", "list(string)", "classes and groups of the starter"},
		{"aboveClasses", "list(string)", "classes and groups of all programs above it"},
		{"uid", "int", "user id, as the host counts"},
		{"signals", "list(string)", "facts about a program start: stdin-socket, stdout-socket, tty, setuid, memfd, deleted, from-outside"},
		{"dropped", "bool", "the program is not the image's own, or was changed"},
		{"kind", "string", "kind of the happening: process.exec, network.connect, ..."},
		{"path", "string", "file.access: the file, or its directory for what was only observed"},
		{"operation", "string", "file.access: Read, Write, ...; capability.use: the capability; hardening: the switch"},
		{"peer", "string", "address of the other end of a connection"},
		{"port", "int", "port of the other end"},
		{"localPort", "int", "network.accept: the port that was reached"},
		{"protocol", "string", "tcp, udp, icmp, sctp or a number"},
		{"reach", "string", "where the other end is: loopback, private, link-local, multicast, public; empty without one"},
		{"peerWorkload", "string", "namespace/name of the other end, when it is a workload known here"},
		{"workload", "string", "namespace/name of the container's workload"},
		{"image", "string", "the container's image"},
		{"effect", "string", "observed, would-block, blocked or not-blocked"},
	}
}

// newLanguage is CEL over the variables, and one more function on texts:
// x.hasAny(["a", "b"]) is true when x contains one of them.
func newLanguage() (*cel.Env, error) {
	kinds := map[string]*cel.Type{"string": cel.StringType, "int": cel.IntType, "bool": cel.BoolType, "list(string)": cel.ListType(cel.StringType)}
	opts := []cel.EnvOption{
		cel.ParserRecursionLimit(100),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.Function("hasAny",
			cel.MemberOverload("string_has_any", []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType,
				cel.BinaryBinding(stringHasAny)),
			cel.MemberOverload("list_has_any", []*cel.Type{cel.ListType(cel.StringType), cel.ListType(cel.StringType)}, cel.BoolType,
				cel.BinaryBinding(listHasAny))),
	}
	for _, v := range Variables() {
		opts = append(opts, cel.Variable(v.Name, kinds[v.Type]))
	}
	return cel.NewEnv(opts...)
}

func stringHasAny(text, words ref.Val) ref.Val {
	s, ok := text.(types.String)
	list, ok2 := words.(traits.Lister)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(words)
	}
	n, _ := list.Size().(types.Int)
	for i := types.Int(0); i < n; i++ {
		if w, ok := list.Get(i).(types.String); ok && strings.Contains(string(s), string(w)) {
			return types.True
		}
	}
	return types.False
}

func listHasAny(have, words ref.Val) ref.Val {
	a, ok := have.(traits.Lister)
	b, ok2 := words.(traits.Container)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(words)
	}
	n, _ := a.Size().(types.Int)
	for i := types.Int(0); i < n; i++ {
		if b.Contains(a.Get(i)) == types.True {
			return types.True
		}
	}
	return types.False
}

// compileExpr gives a program of a boolean or, where text is true, a string
// expression.
func compileExpr(env *cel.Env, file string, src content.Located, text bool) (cel.Program, error) {
	at := func(line int) string {
		if src.Block {
			return fmt.Sprintf("%s:%d", file, src.Line+line)
		}
		return fmt.Sprintf("%s:%d", file, src.Line)
	}
	ast, issues := env.Compile(src.Text)
	if issues.Err() != nil {
		var said []error
		for _, e := range issues.Errors() {
			said = append(said, fmt.Errorf("%s: column %d of the expression: %s", at(e.Location.Line()), e.Location.Column()+1, strings.TrimSuffix(e.Message, " (in container '')")))
		}
		return nil, errors.Join(said...)
	}
	want, name := cel.BoolType, "true or false"
	if text {
		want, name = cel.StringType, "a text"
	}
	if !ast.OutputType().IsExactType(want) {
		return nil, fmt.Errorf("%s: the expression gives %s, not %s", at(1), ast.OutputType(), name)
	}
	cost, err := env.EstimateCost(ast, sizes{})
	if err != nil {
		return nil, fmt.Errorf("%s: estimate the cost of the expression: %w", at(1), err)
	}
	if cost.Max > maxCost {
		return nil, fmt.Errorf("%s: the expression may cost %d, at most %d: nest fewer lists, or ask for a text with hasAny before matches", at(1), cost.Max, uint64(maxCost))
	}
	prog, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at(1), err)
	}
	return prog, nil
}

// sizes tells the estimate how large what expressions see can be.
type sizes struct{}

var _ checker.CostEstimator = sizes{}

// EstimateSize implements checker.CostEstimator.
func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	path := n.Path()
	most := uint64(maxLine)
	switch {
	case n.Type().Kind() == types.ListKind:
		most = maxArgs
	case len(path) > 1:
		most = maxArgument
	}
	return &checker.SizeEstimate{Max: most}
}

// EstimateCallCost implements checker.CostEstimator: hasAny looks through the
// text once for every word, at a byte a tenth of a step as contains does.
func (sizes) EstimateCallCost(_, overload string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if overload != "string_has_any" && overload != "list_has_any" || target == nil || len(args) != 1 {
		return nil
	}
	most := uint64(maxArgs)
	if s := args[0].ComputedSize(); s != nil {
		most = s.Max
	}
	each := uint64(maxLine / 10)
	if overload == "list_has_any" {
		each = maxArgs
	}
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Max: most * each}}
}

// view is a happening as expressions see it. What costs something is made when
// it is first asked for.
type view struct {
	h      *Happening
	names  *names
	line   ref.Val
	args   ref.Val
	above  []string
	parent string
	plines []string
	class  ref.Val
	pclass ref.Val
	aclass ref.Val
	reach  ref.Val
}

var _ interpreter.Activation = (*view)(nil)

// Parent implements interpreter.Activation.
func (v *view) Parent() interpreter.Activation { return nil }

// ResolveName implements interpreter.Activation.
func (v *view) ResolveName(name string) (any, bool) {
	h := v.h
	switch name {
	case "program":
		return types.String(h.Program()), true
	case "exe":
		return types.String(h.Exe), true
	case "args":
		if v.args == nil {
			v.args = list(h.Args[:min(len(h.Args), maxArgs)])
		}
		return v.args, true
	case "line":
		if v.line == nil {
			v.line = types.String(commandLine(h.Args))
		}
		return v.line, true
	case "parent":
		return types.String(v.parent), true
	case "parentLine":
		return types.String(commandLine(v.plines)), true
	case "above":
		return list(v.above), true
	case "classes":
		if v.class == nil {
			v.class = list(v.names.of(h.Program()))
		}
		return v.class, true
	case "parentClasses":
		if v.pclass == nil {
			v.pclass = list(v.names.of(v.parent))
		}
		return v.pclass, true
	case "aboveClasses":
		if v.aclass == nil {
			var all []string
			for _, name := range v.above {
				all = append(all, v.names.of(name)...)
			}
			v.aclass = list(all)
		}
		return v.aclass, true
	case "uid":
		return types.Int(h.UID), true
	case "signals":
		return list(h.Signals), true
	case "dropped":
		return types.Bool(h.Dropped), true
	case "kind":
		return types.String(h.Kind), true
	case "path":
		return types.String(h.Path), true
	case "operation":
		return types.String(h.Operation), true
	case "peer":
		if !h.Peer.IsValid() {
			return types.String(""), true
		}
		return types.String(h.Peer.Unmap().String()), true
	case "port":
		return types.Int(h.Port), true
	case "localPort":
		return types.Int(h.LocalPort), true
	case "protocol":
		return types.String(h.Protocol), true
	case "reach":
		if v.reach == nil {
			v.reach = types.String(reachOf(h.Peer))
		}
		return v.reach, true
	case "peerWorkload":
		return types.String(h.PeerWorkload), true
	case "workload":
		return types.String(h.Workload), true
	case "image":
		return types.String(h.Image), true
	case "effect":
		if h.Effect == "" {
			return types.String(event.Observed), true
		}
		return types.String(h.Effect), true
	}
	return nil, false
}

func list(s []string) ref.Val { return types.NewStringList(types.DefaultTypeAdapter, s) }

func reachOf(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return ""
	case a.IsLoopback():
		return "loopback"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast():
		return "multicast"
	case a.IsPrivate() || sharedSpace.Contains(a):
		return "private"
	}
	return "public"
}

// sharedSpace is what carriers and some clusters use for addresses that are
// not public (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// names knows the classes and groups of programs.
type names struct {
	byProgram map[string][]string
	members   map[string][]string // class or group -> programs
}

func newNames(library *content.Library, groups map[string][]string) *names {
	n := &names{byProgram: map[string][]string{}, members: map[string][]string{}}
	add := func(set string, programs []string) {
		n.members[set] = append(n.members[set], programs...)
		for _, p := range programs {
			n.byProgram[p] = append(n.byProgram[p], set)
		}
	}
	for _, c := range library.Classes() {
		add(c.Name, c.Names)
	}
	for _, set := range slices.Sorted(maps.Keys(groups)) {
		add(set, groups[set])
	}
	return n
}

// of gives the classes and groups of a program by its name, or by the name
// without the version behind it.
func (n *names) of(program string) []string {
	if c := n.byProgram[program]; c != nil {
		return c
	}
	return n.byProgram[family(program)]
}
