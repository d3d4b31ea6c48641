package licence

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/content"
)

// rule is one element of a list.
type rule struct {
	verdict  string
	id       string // with exception: "GPL-2.0-only WITH Classpath-exception-2.0"
	family   string // id without "-only" and "-or-later", when the element has neither
	text     string // folded, of "=TEXT"
	category *content.Category
}

// Nearness of a rule to a leaf; the nearest decides.
const (
	far = iota
	byCategory
	byFamily
	byID
	byWhole
)

type ruleSet struct {
	names *names
	rules []rule
}

func (n *names) rules(allow, deny []string) (ruleSet, error) {
	set := ruleSet{names: n}
	for _, list := range []struct {
		verdict  string
		elements []string
	}{{Denied, deny}, {Allowed, allow}} { // deny first: it wins when equally near
		for _, element := range list.elements {
			r, err := n.rule(strings.TrimSpace(element))
			if err != nil {
				return ruleSet{}, err
			}
			r.verdict = list.verdict
			set.rules = append(set.rules, r)
		}
	}
	return set, nil
}

func (n *names) rule(element string) (rule, error) {
	if text, ok := strings.CutPrefix(element, "="); ok && fold(text) != "" {
		return rule{text: fold(text)}, nil
	}
	if c, ok := n.categories[strings.ToLower(element)]; ok {
		return rule{category: &c}, nil
	}
	e, err := n.parse(element)
	if err != nil || e.op != "" || !e.known {
		if strings.EqualFold(element, None) {
			return rule{text: fold(None)}, nil
		}
		return rule{}, fmt.Errorf("read licence %q: it is no SPDX id and no category (%s); write %q for a text that packages give, and elements of an expression one by one",
			element, strings.Join(slices.Sorted(maps.Keys(n.categories)), ", "), "="+element)
	}
	r := rule{id: e.String()}
	if low := strings.ToLower(element); family(e.id) != e.id && !strings.HasSuffix(low, "-only") && !strings.HasSuffix(low, "-or-later") && !strings.HasSuffix(low, "+") && e.exception == "" {
		r.family = family(e.id)
	}
	return r, nil
}

// judge gives the verdict on a licence. Without an expression only the text
// can be listed.
func (s *ruleSet) judge(id string, e *expr) string {
	if e == nil {
		e = &expr{id: id}
	}
	// A text as found may be listed as a whole although parts of it are known.
	if !e.valid() {
		for _, r := range s.rules {
			if r.text != "" && r.text == fold(id) {
				return r.verdict
			}
		}
	}
	return s.eval(e)
}

func (s *ruleSet) eval(e *expr) string {
	switch e.op {
	case "OR":
		return best(s.eval(e.left), s.eval(e.right))
	case "AND":
		return worst(s.eval(e.left), s.eval(e.right))
	}
	verdict, near := Unlisted, far
	for i := range s.rules {
		if n := s.near(&s.rules[i], e); n > near {
			verdict, near = s.rules[i].verdict, n
		}
	}
	return verdict
}

func (s *ruleSet) near(r *rule, leaf *expr) int {
	switch {
	case r.category != nil:
		if s.names.category(*r.category, leaf) {
			return byCategory
		}
	case r.text != "":
		if !leaf.known && r.text == fold(leaf.id) {
			return byID
		}
	case leaf.known && r.id == leaf.String():
		return byWhole
	case leaf.known && r.family != "" && r.family == family(leaf.id):
		return byFamily
	case leaf.known && r.id == leaf.id:
		// An exception gives more freedom, never less: an allowed licence is
		// allowed with one, and a denied one is denied unless listed with it.
		return byID
	}
	return far
}

func rank(v string) int {
	return slices.Index([]string{Denied, Unlisted, Allowed}, v)
}

func best(a, b string) string {
	if rank(a) > rank(b) {
		return a
	}
	return b
}

func worst(a, b string) string {
	if rank(a) < rank(b) {
		return a
	}
	return b
}
