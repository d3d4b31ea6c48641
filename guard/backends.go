package guard

import "slices"

// Backend is a mechanism of enforcement and what it is worth. The list is
// knowledge: doctor, status and documentation print it.
type Backend struct {
	ID      string
	Section string // "process" or "network"
	// Needs are the names of the features (see Feature) that must all work.
	Needs []string
	// Guarantee is one sentence that says what it is worth.
	Guarantee string
	// Stops and Passes list attacks by name that it stops, and that it cannot.
	Stops  []string
	Passes []string
}

// Active reports whether every needed feature works, and else which does not.
func (b Backend) Active(features []Feature) (bool, string) {
	for _, need := range b.Needs {
		i := slices.IndexFunc(features, func(f Feature) bool { return f.Name == need })
		if i < 0 {
			return false, need + " was not tried"
		}
		if !features[i].Works {
			return false, need + ": " + features[i].Detail
		}
	}
	return true, ""
}
