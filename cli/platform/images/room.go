// Package images is the supply chain inside a running gabion: it sweeps the
// registries of ScanTargets, scans what is asked for, keeps what was found, and
// says where images run.
//
// It reads no image and matches no advisory itself; a Scanner does. The one
// idea: what was read of an image is kept apart from what is judged of it, and
// a judgement carries the fingerprint of everything it rests on (database,
// exceptions, thresholds, what its containers were seen to do). When that
// changes, the judgement is made again, and no image is pulled for it.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/registry"
	"github.com/gabion-dev/gabion/workload"
)

// Config bounds what is kept. Zero fields get defaults.
type Config struct {
	Node      string
	MaxImages int           // default 5,000
	MaxBytes  int64         // of what is kept of all images, compressed; default 2 GiB
	Every     time.Duration // between two looks at what judgements rest on; default 30 s
}

// Scanner reads images and judges what was read. Implementations are safe for
// concurrent use.
type Scanner interface {
	// Refresh takes a newer database into use, if there is one.
	Refresh() error
	// Database is what Assemble compares with now.
	Database() scan.Database
	// Version changes whenever reading an image again would find more.
	Version() string
	// Read reads an image of a registry.
	Read(ctx context.Context, job registry.Job) (*registry.Kept, error)
	// Local reads what a person named: a container, or a reference ("docker:" or
	// "containerd:" before it means this machine's).
	Local(ctx context.Context, what console.ImageToScan) (*registry.Kept, error)
	// Assemble makes a report. It is pure but for the database in use.
	Assemble(k *registry.Kept, d decide.Inputs, now time.Time) (*scan.Report, error)
}

// Deps are what a Room works with. All are needed but Seen.
type Deps struct {
	Store   store.Store
	Scanner Scanner
	Record  func(event.Event)
	Log     *slog.Logger
	Now     func() time.Time
	// Running lists the containers of this machine, Seen what the containers of a
	// workload were seen to do; nil: nobody watches.
	Running func() []workload.Container
	Seen    func(workload.Ref) Seen
	// Exceptions are those of the policies in force.
	Exceptions func() []v1alpha1.Exception
	// Getenv and ReadFile find secrets and credentials.
	Getenv   func(string) string
	ReadFile func(string) ([]byte, error)
}

// Room is the supply chain of one machine. Make it with Open, then Run.
type Room struct {
	cfg  Config
	d    Deps
	pack packer

	mu      sync.Mutex
	records map[string]*record // by digest
	targets map[string]*target // by name
	wanted  []*v1alpha1.ScanTarget
	recent  []cached
	files   []cachedFiles
	used    use

	keep sync.Mutex // one change of what is kept of images at a time
	kick chan struct{}
	jobs *jobs
}

var (
	_ console.Images       = (*Room)(nil)
	_ registry.Inventories = (*Room)(nil)
)

// Open reads what is kept.
func Open(ctx context.Context, cfg Config, d Deps) (*Room, error) {
	if cfg.MaxImages <= 0 {
		cfg.MaxImages = 5000
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 2 << 30
	}
	if cfg.Every <= 0 {
		cfg.Every = 30 * time.Second
	}
	p, err := newPacker()
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	r := &Room{cfg: cfg, d: d, pack: p, records: map[string]*record{}, targets: map[string]*target{}, kick: make(chan struct{}, 1), jobs: newJobs()}
	docs, err := d.Store.Documents(ctx, kindSummary)
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	for digest, raw := range docs {
		rec := new(record)
		if err := json.Unmarshal(raw, rec); err != nil {
			// As if it had never been scanned: it will be scanned again.
			d.Log.Warn("what is kept of an image is damaged", "image", digest, "err", err)
			continue
		}
		r.records[digest] = rec
	}
	return r, nil
}

// record is what is known of an image at a glance. It never changes: a new one
// takes its place.
type record struct {
	console.Image
	ConfigID string              `json:"configID,omitempty"`
	ByTarget map[string][]string `json:"byTarget,omitempty"` // names, by the ScanTarget that found them; "": asked for
	Read     bool                `json:"read"`               // completely; gaps of matching do not count
	Reader   string              `json:"reader"`             // Scanner.Version
	Basis    string              `json:"basis"`              // what the judgement rests on
	Bytes    int64               `json:"bytes"`              // kept
	Root     bool                `json:"root,omitempty"`
	Signers  []string            `json:"signers,omitempty"`
}

// names are those of all targets, sorted.
func (rec *record) names() []string {
	out := []string{}
	for _, list := range rec.ByTarget {
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *Room) record(digest string) (*record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.records[digest]
	return rec, ok
}

// all are the records in the order of digests.
func (r *Room) all() []*record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*record, 0, len(r.records))
	for _, rec := range r.records {
		out = append(out, rec)
	}
	slices.SortFunc(out, func(a, b *record) int { return compareText(a.Digest, b.Digest) })
	return out
}

// SetTargets takes the ScanTargets that are in force. Those that went are
// stopped, those that changed start anew.
func (r *Room) SetTargets(list []*v1alpha1.ScanTarget) {
	r.mu.Lock()
	r.wanted = slices.Clone(list)
	r.mu.Unlock()
	r.wake()
}

// Changed says that exceptions may be others now.
func (r *Room) Changed() { r.wake() }

func (r *Room) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Health is how Run tells how it is; lifecycle.Reporter is one.
type Health interface {
	Ready()
	Degraded(reason string)
}

// Run works until ctx ends: it follows the targets, scans what is asked for, and
// judges again what rests on something that changed.
func (r *Room) Run(ctx context.Context, h Health) error {
	ctx, cancel := context.WithCancel(ctx)
	var asked sync.WaitGroup
	asked.Go(func() { r.work(ctx) })
	defer func() {
		cancel()
		asked.Wait()
		r.stopTargets()
	}()
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	for {
		r.report(h, r.look(ctx))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-r.kick:
		}
	}
}

// look does once what Run does again and again.
func (r *Room) look(ctx context.Context) error {
	r.followTargets(ctx)
	refresh := r.d.Scanner.Refresh()
	if refresh != nil {
		refresh = fmt.Errorf("take the newer database into use: %w", refresh)
	}
	sum, err := r.rematch(ctx)
	if ctx.Err() != nil {
		return nil
	}
	for _, f := range sum.Failed {
		// What cannot be read any more is as good as not there: the next sweep
		// reads the image anew.
		r.d.Log.Warn("image cannot be judged again", "image", f.Ref, "err", f.Err)
		r.d.Record(r.about(event.ImageFailed, event.Medium, f.Ref, fmt.Sprintf("What was kept of image %s cannot be judged again and was forgotten: %v", f.Ref, f.Err)))
		err = errors.Join(err, r.drop(ctx, f.Ref))
	}
	return errors.Join(refresh, err, r.evict(ctx))
}

func (r *Room) report(h Health, trouble error) {
	trouble = errors.Join(trouble, r.problems())
	if trouble != nil {
		h.Degraded(trouble.Error())
		return
	}
	h.Ready()
}

// inputs are the decisions that reports are made with.
func (r *Room) inputs() decide.Inputs {
	return decide.Inputs{Exceptions: r.d.Exceptions(), Use: imageUse{r}}
}

// assemble judges an image, also by what its targets let it fail for.
func (r *Room) assemble(k *registry.Kept, targets []string) (*scan.Report, error) {
	rep, err := r.d.Scanner.Assemble(k, r.inputs(), r.d.Now())
	if err != nil {
		return nil, err
	}
	for _, th := range r.thresholds(targets) {
		rep.Violations = append(rep.Violations, decide.Judge(rep, th)...)
	}
	rep.Sort()
	rep.Violations = slices.Compact(rep.Violations)
	return rep, nil
}

// basis is the fingerprint of what a judgement rests on besides the image.
func (r *Room) basis(rec *record) string {
	now := r.d.Now()
	type waiver struct {
		Spec  v1alpha1.ExceptionSpec
		Name  string
		Ended bool
	}
	of := struct {
		Database, Reader string
		Waivers          []waiver
		Thresholds       []decide.Thresholds
		Ran, Reached     []string
		Watched, Open    bool
	}{Database: r.d.Scanner.Database().Digest, Reader: r.d.Scanner.Version(), Thresholds: r.thresholds(targetsOf(rec.ByTarget))}
	for _, e := range r.d.Exceptions() {
		of.Waivers = append(of.Waivers, waiver{e.Spec, e.Name, !now.Before(e.Spec.ExpiresAt.Time)})
	}
	seen := r.seenOf(rec)
	of.Ran, of.Reached, of.Watched, of.Open = seen.Programs, seen.Ports, seen.ProgramsWatched, seen.PortsWatched
	text, err := json.Marshal(of)
	if err != nil {
		return "" // judged again each time, which is slow but never wrong
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func targetsOf(by map[string][]string) []string {
	out := []string{}
	for name := range by {
		if name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
