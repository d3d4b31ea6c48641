package inventory

import "path"

// overlay tells which layer is the last to hide a path, over all layers of an
// image. Parents are remembered, because neighbours share them.
type overlay struct {
	layers []*Contents
	below  map[string]int // directory -> last layer that hides what is below it
}

func newOverlay(layers []*Contents) *overlay {
	return &overlay{layers: layers, below: map[string]int{}}
}

// top is the last layer that hides the file at p or holds it, or -1. The file
// of layer i counts when top is not above i.
func (o *overlay) top(p string) int {
	t := o.hiddenBelow(path.Dir(p))
	h := hashPath(p)
	for i := len(o.layers) - 1; i > t; i-- {
		if l := o.layers[i]; l != nil && l.hides.has(h)&(1<<covers|1<<isDir) != 0 {
			return i
		}
	}
	return t
}

// hiddenBelow is the last layer that hides everything below the directory d
// that older layers have there, or -1.
func (o *overlay) hiddenBelow(d string) int {
	if t, ok := o.below[d]; ok {
		return t
	}
	t := -1
	if d != "." {
		t = o.hiddenBelow(path.Dir(d))
	}
	h := hashPath(d)
	for i := len(o.layers) - 1; i > t; i-- {
		if l := o.layers[i]; l != nil && l.hides.has(h)&(1<<covers|1<<opaque) != 0 {
			t = i
			break
		}
	}
	o.below[d] = t
	return t
}

// broken reports whether a layer strictly between two others hides p, which
// both of them hold.
func (o *overlay) broken(p string, lower, upper int) bool {
	if upper-lower < 2 {
		return false
	}
	between := newOverlay(o.layers[lower+1 : upper])
	return between.top(p) >= 0
}
