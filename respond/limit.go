package respond

import "time"

// bucket is a token bucket: full at first, filling up at a steady rate.
type bucket struct {
	tokens float64
	at     time.Time
}

// limit is how often a policy may act on one workload.
type limit struct {
	perMinute float64
	burst     float64
}

// fill brings b up to now.
func (l limit) fill(b *bucket, now time.Time) {
	if b.at.IsZero() {
		b.tokens = l.burst
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(l.burst, b.tokens+d.Minutes()*l.perMinute)
	}
	b.at = now
}

// take takes a token if b then still holds more than spare of its room.
func (l limit) take(b *bucket, now time.Time, spare float64) bool {
	l.fill(b, now)
	if b.tokens < 1 || b.tokens < spare*l.burst {
		return false
	}
	b.tokens--
	return true
}

// limiter holds the buckets of one policy, by workload.
type limiter struct {
	limit
	buckets map[string]*bucket
}

// maxBuckets bounds the memory of a policy; full buckets are forgotten first.
const maxBuckets = 10_000

func (l *limiter) take(workload string, now time.Time, spare float64) bool {
	b := l.buckets[workload]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			for k, x := range l.buckets {
				if l.fill(x, now); x.tokens >= l.burst {
					delete(l.buckets, k)
				}
			}
		}
		if len(l.buckets) >= maxBuckets {
			return false // more workloads act up at once than anyone could follow
		}
		b = &bucket{}
		l.buckets[workload] = b
	}
	return l.limit.take(b, now, spare)
}

// recent remembers the last few thousand keys with a number each.
type recent struct {
	max      int
	now, old map[string]uint64
}

func newRecent(max int) *recent { return &recent{max: max, now: map[string]uint64{}} }

func (r *recent) get(key string) (uint64, bool) {
	if n, ok := r.now[key]; ok {
		return n, true
	}
	n, ok := r.old[key]
	return n, ok
}

func (r *recent) put(key string, n uint64) {
	if len(r.now) >= r.max {
		r.old, r.now = r.now, map[string]uint64{}
	}
	r.now[key] = n
}
