package workload

import (
	"fmt"
	"slices"
	"strings"
)

// Selector chooses containers. Every part that is present must match; the zero
// Selector matches every container. All pattern lists are globs as described
// at MatchGlob, and one pattern of each present list must match.
type Selector struct {
	Labels      map[string]string
	Expressions []Requirement
	Namespaces  []string
	Workloads   []string // names of workloads
	Containers  []string // names of containers
	// Images are compared with the reference as the runtime has it, with it
	// short of tag and digest, and with both of them short of the default
	// registry ("nginx" matches docker.io/library/nginx:1.27).
	Images          []string
	ServiceAccounts []string
}

// Operator is how a Requirement compares.
type Operator string

// Operators, with the meaning they have in Kubernetes: NotIn and DoesNotExist
// also match containers without the label.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// Requirement is one condition on one label.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// SelectorError says which part of a Selector cannot be used and why. Field is
// in the words of the policy language ("matchExpressions[0].values").
type SelectorError struct {
	Field  string
	Reason string
}

// Error gives "field: reason".
func (e *SelectorError) Error() string { return e.Field + ": " + e.Reason }

// Validate reports every part that can never be meant; the errors are
// *SelectorError.
func (s *Selector) Validate() []error {
	var errs []error
	add := func(field, format string, args ...any) {
		errs = append(errs, &SelectorError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	for _, k := range sortedKeys(s.Labels) {
		if k == "" {
			add("matchLabels", "a label has an empty name")
		}
	}
	for i, r := range s.Expressions {
		field := fmt.Sprintf("matchExpressions[%d]", i)
		if r.Key == "" {
			add(field+".key", "must name a label")
		}
		switch r.Operator {
		case In, NotIn:
			if len(r.Values) == 0 {
				add(field+".values", "operator %s needs at least one value", r.Operator)
			}
		case Exists, DoesNotExist:
			if len(r.Values) > 0 {
				add(field+".values", "operator %s takes no values", r.Operator)
			}
		default:
			add(field+".operator", "%q is not one of In, NotIn, Exists, DoesNotExist", r.Operator)
		}
	}
	for _, list := range []struct {
		field    string
		patterns []string
	}{
		{"namespaces", s.Namespaces},
		{"workloads", s.Workloads},
		{"containers", s.Containers},
		{"images", s.Images},
		{"serviceAccounts", s.ServiceAccounts},
	} {
		for i, p := range list.patterns {
			if p == "" {
				add(fmt.Sprintf("%s[%d]", list.field, i), "is empty and would match nothing")
			}
		}
	}
	return errs
}

// Matches reports whether every present part of s matches c.
func (s *Selector) Matches(c *Container) bool {
	for k, want := range s.Labels {
		if have, ok := c.Labels[k]; !ok || have != want {
			return false
		}
	}
	for i := range s.Expressions {
		if !s.Expressions[i].matches(c.Labels) {
			return false
		}
	}
	return matchesOne(s.Namespaces, c.Workload.Namespace) &&
		matchesOne(s.Workloads, c.Workload.Name) &&
		matchesOne(s.Containers, c.Name) &&
		matchesOne(s.ServiceAccounts, c.ServiceAccount) &&
		matchesImage(s.Images, c.Image)
}

func (r *Requirement) matches(labels map[string]string) bool {
	value, present := labels[r.Key]
	switch r.Operator {
	case In:
		return present && slices.Contains(r.Values, value)
	case NotIn:
		return !present || !slices.Contains(r.Values, value)
	case Exists:
		return present
	case DoesNotExist:
		return !present
	}
	return false
}

func matchesOne(patterns []string, value string) bool {
	if len(patterns) == 0 {
		return true
	}
	return slices.ContainsFunc(patterns, func(p string) bool { return MatchGlob(p, value) })
}

func matchesImage(patterns []string, image string) bool {
	if len(patterns) == 0 {
		return true
	}
	if image == "" {
		return false
	}
	forms := []string{image}
	bare, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(bare, ':'); i > strings.LastIndexByte(bare, '/') {
		forms = append(forms, bare) // without digest, with tag
		bare = bare[:i]
	}
	forms = append(forms, bare)
	for _, prefix := range []string{"docker.io/", "library/"} {
		for _, f := range forms {
			if rest, ok := strings.CutPrefix(f, prefix); ok {
				forms = append(forms, rest)
			}
		}
	}
	return slices.ContainsFunc(forms, func(f string) bool { return matchesOne(patterns, f) })
}

// MatchGlob reports whether pattern matches all of s. "*" stands for any run of
// characters other than "/", "**" for any run at all; every other character
// stands for itself. It never takes more than len(pattern)*len(s) steps, so
// patterns from outside are safe.
func MatchGlob(pattern, s string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == s
	}
	// row[j] is whether the pattern read so far matches s[:j].
	row := make([]bool, len(s)+1)
	row[0] = true
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '*' {
			for j := len(s); j > 0; j-- {
				row[j] = row[j-1] && s[j-1] == pattern[i]
			}
			row[0] = false
			continue
		}
		deep := i+1 < len(pattern) && pattern[i+1] == '*'
		if deep {
			i++
		}
		for j := 1; j <= len(s); j++ {
			row[j] = row[j] || row[j-1] && (deep || s[j-1] != '/')
		}
	}
	return row[len(s)]
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
