package inventory

import "slices"

type unitKey struct{ plugin, path string }

// version is one state of a file that lists packages.
type version struct {
	layer int
	unit  *unit
}

// history gives, for every file that lists packages in more than one layer,
// its states, lowest first.
func (m *merger) history() map[unitKey][]version {
	if len(m.layers) < 2 {
		return nil
	}
	all := map[unitKey][]version{}
	for i, l := range m.layers {
		if l == nil {
			continue
		}
		for k := range l.units {
			u := &l.units[k]
			key := unitKey{u.plugin, u.path}
			all[key] = append(all[key], version{i, u})
		}
	}
	return all
}

// identity is what makes a package the same in two states of a file.
func identity(f *found) string {
	return f.Name + "\x00" + f.Version + "\x00" + f.Arch + "\x00" + f.Path
}

// since gives, for the packages of the state of layer top, the lowest layer
// from which on they were there without a break, or nil when there is but one.
func (m *merger) since(states []version, top int) map[string]int {
	at := slices.IndexFunc(states, func(v version) bool { return v.layer == top })
	if at < 1 {
		return nil
	}
	out := map[string]int{}
	for k := range states[at].unit.packages {
		out[identity(&states[at].unit.packages[k])] = top
	}
	for i := at - 1; i >= 0; i-- {
		if m.over.broken(states[i].unit.path, states[i].layer, states[i+1].layer) {
			break
		}
		upper := states[i+1].layer
		for k := range states[i].unit.packages {
			id := identity(&states[i].unit.packages[k])
			if l, ok := out[id]; ok && l == upper {
				out[id] = states[i].layer
			}
		}
	}
	return out
}
