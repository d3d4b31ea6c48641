package policy

import (
	"cmp"
	"errors"
	"slices"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// Reload is Load for files that replace those of an earlier set: where a file
// has a fault, documents that it had before and that cannot be read from it
// now stay in force as they were, so that breaking a file never loosens what
// runs. Removing a file, or a document from a file without faults, removes the
// policy. The IDs of what was kept are given, sorted.
func Reload(earlier *Set, files []File, checks ...v1alpha1.Validator) (s *Set, kept []string, errs []error) {
	s, errs = Load(files, checks...)
	if earlier == nil {
		return s, nil, errs
	}
	faulty := map[string]bool{}
	for _, err := range errs {
		if e, ok := errors.AsType[*v1alpha1.Error](err); ok && !errors.Is(err, ErrDuplicate) {
			faulty[e.File] = true
		}
	}
	for _, d := range earlier.docs {
		id := v1alpha1.ID(d.Object)
		if !faulty[d.File] || s.byID[id] != nil {
			continue
		}
		kept = append(kept, id)
		s.byID[id] = d
		s.docs = append(s.docs, d)
		namespace := v1alpha1.Namespace(d.Object)
		for _, p := range earlier.policies[namespace] {
			if p.id == id {
				s.policies[namespace] = insert(s.policies[namespace], p, func(p *policySource) string { return p.id })
			}
		}
		for _, e := range earlier.exceptions[namespace] {
			if e.id == id {
				s.exceptions[namespace] = insert(s.exceptions[namespace], e, func(e *exceptionSource) string { return e.id })
			}
		}
		for ref, reason := range earlier.reasons {
			if ref.Policy == id {
				s.reasons[ref] = reason
			}
		}
	}
	slices.SortFunc(s.docs, func(a, b *v1alpha1.Document) int {
		return cmp.Compare(v1alpha1.ID(a.Object), v1alpha1.ID(b.Object))
	})
	return s, kept, errs
}

func insert[T any](list []T, item T, id func(T) string) []T {
	i, _ := slices.BinarySearchFunc(list, item, func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	return slices.Insert(list, i, item)
}
