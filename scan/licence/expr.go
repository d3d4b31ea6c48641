package licence

import (
	"errors"
	"strings"
)

// Bounds of an expression; longer and deeper ones are texts, not expressions.
const (
	maxText  = 4096 // bytes
	maxDepth = 64
	maxLeafs = 512
)

// expr is a licence expression: a leaf with an id, or two sides of AND or OR.
type expr struct {
	op          string // "AND", "OR", "" for a leaf
	left, right *expr
	id          string // as SPDX writes it, or the words as found
	known       bool
	exception   string // of WITH
}

// String writes the expression as SPDX does.
func (e *expr) String() string {
	switch {
	case e.op != "":
		return e.side(e.left) + " " + e.op + " " + e.side(e.right)
	case e.exception != "":
		return e.id + " WITH " + e.exception
	}
	return e.id
}

// side puts brackets where OR is below AND.
func (e *expr) side(s *expr) string {
	if e.op == "AND" && s.op == "OR" {
		return "(" + s.String() + ")"
	}
	return s.String()
}

// valid reports whether every leaf is known.
func (e *expr) valid() bool {
	if e.op != "" {
		return e.left.valid() && e.right.valid()
	}
	return e.known
}

var errExpression = errors.New("not a licence expression")

// parser reads expressions the way packages write them: SPDX, and the same
// with "and", "or", "&", "|", "/" and names of several words as leaves.
type parser struct {
	names *names
	words []string
	depth int
	leafs int
}

// parse reads a text. A leaf that nobody knows is kept as it is, not known.
func (n *names) parse(text string) (*expr, error) { return n.parseDepth(text, 0) }

func (n *names) parseDepth(text string, depth int) (*expr, error) {
	if len(text) > maxText || depth > 2 {
		return nil, errExpression
	}
	if e := n.whole(text, depth); e != nil {
		return e, nil
	}
	p := &parser{names: n, words: tokens(text), depth: depth}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if len(p.words) > 0 {
		return nil, errExpression
	}
	return e, nil
}

// tokens cuts a text into words, brackets and operators.
func tokens(text string) []string {
	text = strings.NewReplacer("(", " ( ", ")", " ) ", "|", " | ", "&", " & ", ",", " , ", ";", " ; ").Replace(text)
	return strings.Fields(text)
}

// operator gives the SPDX operator a token stands for. A comma or semicolon
// lists what all applies.
func operator(token string) string {
	switch strings.ToLower(token) {
	case "or", "|", "||", "and/or":
		return "OR"
	case "and", "&", ",", ";", "+":
		return "AND"
	case "with", "w/":
		return "WITH"
	}
	return ""
}

func (p *parser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *parser) or(depth int) (*expr, error)  { return p.binary("OR", depth, p.and) }
func (p *parser) and(depth int) (*expr, error) { return p.binary("AND", depth, p.term) }

func (p *parser) binary(op string, depth int, next func(int) (*expr, error)) (*expr, error) {
	e, err := next(depth)
	for err == nil && operator(p.peek()) == op {
		// "a, and b" and "a & & b" have two operators where one is meant.
		for operator(p.peek()) == op {
			p.words = p.words[1:]
		}
		var right *expr
		if right, err = next(depth); err == nil {
			e = &expr{op: op, left: e, right: right}
		}
	}
	return e, err
}

func (p *parser) term(depth int) (*expr, error) {
	if p.leafs++; depth > maxDepth || p.leafs > maxLeafs {
		return nil, errExpression
	}
	if p.peek() == "(" {
		p.words = p.words[1:]
		e, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.peek() != ")" {
			return nil, errExpression
		}
		p.words = p.words[1:]
		return e, nil
	}
	name := p.phrase()
	if name == "" {
		return nil, errExpression
	}
	e := p.names.leaf(name, p.depth)
	if operator(p.peek()) == "WITH" {
		p.words = p.words[1:]
		exception := p.phrase()
		known := p.names.exceptions[strings.ToLower(exception)]
		switch {
		case exception == "" || e.op != "" || e.exception != "":
			return nil, errExpression
		case known != "":
			e.exception = known
		default:
			// Perhaps the alias of the whole ("GPLv2+ with GCC exception").
			if whole := p.names.whole(name+" with "+exception, p.depth); whole != nil {
				return whole, nil
			}
			e = &expr{id: name + " with " + exception}
		}
	}
	return e, nil
}

// phrase takes words up to the next operator or bracket.
func (p *parser) phrase() string {
	i := 0
	for i < len(p.words) && operator(p.words[i]) == "" && p.words[i] != "(" && p.words[i] != ")" {
		i++
	}
	s := strings.Join(p.words[:i], " ")
	p.words = p.words[i:]
	return s
}

// leaf finds what a name stands for.
func (n *names) leaf(name string, depth int) *expr {
	if e := n.whole(name, depth); e != nil {
		return e
	}
	// "MIT/Apache-2.0", as Rust packages wrote it: either.
	if parts := strings.Split(name, "/"); len(parts) > 1 && len(parts) <= 8 && !strings.Contains(name, "://") {
		var e *expr
		for _, part := range parts {
			l := n.whole(strings.TrimSpace(part), depth)
			if l == nil {
				return &expr{id: name}
			}
			if e == nil {
				e = l
			} else {
				e = &expr{op: "OR", left: e, right: l}
			}
		}
		return e
	}
	return &expr{id: name}
}

// whole finds a text that is one name: an id, an id with "+", a reference, an
// alias.
func (n *names) whole(text string, depth int) *expr {
	text = strings.TrimSpace(text)
	low := strings.ToLower(text)
	if id := n.exact[low]; id != "" {
		return n.current(id)
	}
	if base, plus := strings.CutSuffix(low, "+"); plus {
		if id := n.exact[base]; id != "" && n.exact[strings.ToLower(family(id))+"-or-later"] != "" {
			return &expr{id: n.exact[strings.ToLower(family(id))+"-or-later"], known: true}
		} else if id != "" {
			return &expr{id: id + "+", known: true}
		}
	}
	if reference(text) {
		return &expr{id: text, known: true}
	}
	if strings.HasPrefix(text, "(") || strings.Count(text, "(") != strings.Count(text, ")") {
		return nil
	}
	to := n.ids[fold(strings.TrimPrefix(strings.TrimPrefix(text, "License :: OSI Approved :: "), "License :: "))]
	if to == "" {
		return nil
	}
	if id := n.exact[strings.ToLower(to)]; id != "" {
		return n.current(id)
	}
	e, err := n.parseDepth(to, depth+1)
	if err != nil {
		return nil
	}
	return e
}

// current replaces ids that SPDX has split or joined since: "GPL-2.0" was "GPL-2.0-only".
func (n *names) current(id string) *expr {
	if only := n.exact[strings.ToLower(id)+"-only"]; only != "" {
		return &expr{id: only, known: true}
	}
	for suffix, exception := range map[string]string{
		"-with-classpath-exception": "Classpath-exception-2.0", "-with-autoconf-exception": "Autoconf-exception-", "-with-bison-exception": "Bison-exception-2.2",
		"-with-font-exception": "Font-exception-2.0", "-with-GCC-exception": "GCC-exception-",
	} {
		base, ok := strings.CutSuffix(id, suffix)
		if !ok {
			continue
		}
		switch {
		case exception == "Autoconf-exception-":
			exception += strings.TrimPrefix(base, "GPL-")
		case exception == "GCC-exception-" && base == "GPL-3.0":
			exception += "3.1"
		case exception == "GCC-exception-":
			exception += "2.0"
		}
		return &expr{id: base + "-only", known: true, exception: exception}
	}
	return &expr{id: id, known: true}
}

// reference reports whether a text is LicenseRef-x or DocumentRef-y:LicenseRef-x.
func reference(text string) bool {
	if rest, ok := strings.CutPrefix(text, "DocumentRef-"); ok {
		doc, ref, ok := strings.Cut(rest, ":")
		return ok && idString(doc) && reference(ref)
	}
	rest, ok := strings.CutPrefix(text, "LicenseRef-")
	return ok && idString(rest)
}

func idString(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}
