package registry

import (
	"context"
	"sync"
)

// picker hands out images so that no two of them fetch the same layer at the
// same time: an image waits while another one is fetching a layer of it. What
// was fetched is in the cache, so each distinct layer is pulled once.
type picker struct {
	mu      sync.Mutex
	cond    *sync.Cond
	pending []*found
	busy    map[string]bool // layers being fetched
	have    map[string]bool // layers in the cache
}

func newPicker() *picker {
	p := &picker{busy: map[string]bool{}, have: map[string]bool{}}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *picker) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond.Broadcast()
}

// next waits for an image that may be examined now; nil when none is left or
// ctx ended.
func (p *picker) next(ctx context.Context) *found {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ctx.Err() == nil {
		if len(p.pending) == 0 {
			return nil
		}
		for i, f := range p.pending {
			if p.blocked(f) {
				continue
			}
			p.pending = append(p.pending[:i], p.pending[i+1:]...)
			for _, l := range f.layers {
				if !p.have[l] {
					p.busy[l] = true
				}
			}
			return f
		}
		p.cond.Wait()
	}
	return nil
}

func (p *picker) blocked(f *found) bool {
	for _, l := range f.layers {
		if p.busy[l] {
			return true
		}
	}
	return false
}

// done gives the layers of an image free; ok says that all are in the cache.
func (p *picker) done(f *found, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range f.layers {
		// Layers that were in the cache before may be in use by others: those
		// never are busy.
		delete(p.busy, l)
		if ok {
			p.have[l] = true
		}
	}
	p.cond.Broadcast()
}
