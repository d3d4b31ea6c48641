package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/scan/engine"
)

// scanProgress draws one line on a terminal, and nothing elsewhere: a log has
// no use for it.
type scanProgress struct {
	env   *Env
	mu    sync.Mutex
	last  time.Time
	drawn bool
	ended bool
}

const (
	progressEvery = 100 * time.Millisecond
	progressBar   = 24
)

func newScanProgress(env *Env) *scanProgress { return &scanProgress{env: env} }

func (p *scanProgress) show(s engine.Progress) {
	if p.env.Err.Width <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.ended || now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	line := progressLine(s)
	if len([]rune(line)) >= p.env.Err.Width {
		line = fmt.Sprintf("%d/%d", s.Done, s.Layers)
	}
	p.env.Err.Printf("\r\x1b[K%s", line)
	p.drawn = true
}

func progressLine(s engine.Progress) string {
	part := 0.0
	if s.Size > 0 {
		part = min(1, float64(s.Bytes)/float64(s.Size))
	}
	full := int(part * progressBar)
	line := fmt.Sprintf("[%s%s] %3.0f%%  layers %d of %d", strings.Repeat("#", full), strings.Repeat(".", progressBar-full), 100*part, s.Done, s.Layers)
	if s.Cached > 0 {
		line += fmt.Sprintf(", %d known", s.Cached)
	}
	if s.Size > 0 {
		line += fmt.Sprintf("  %s of %s", megabytes(s.Bytes), megabytes(s.Size))
	}
	return line
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// end takes the line away.
func (p *scanProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.drawn {
		p.env.Err.Printf("\r\x1b[K")
	}
}
