// Package engine scans: it opens what is named, reads the layers that nobody
// has read before, lays them over each other, matches, decides and judges.
//
// It holds no knowledge of its own; every step is a room of scan/ and this
// package introduces them. The one idea: Read makes an inventory, which costs
// time and is kept by layer, and Assemble makes a report of an inventory, which
// is pure and costs next to nothing, so that a new database or a new decision
// never needs an image again.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/check"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/image"
	"github.com/gabion-dev/gabion/scan/inventory"
	"github.com/gabion-dev/gabion/scan/licence"
	"github.com/gabion-dev/gabion/scan/sbom"
	"github.com/gabion-dev/gabion/scan/secret"
	"github.com/gabion-dev/gabion/scan/sign"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/walk"
)

// Cache keeps the contents of layers by their uncompressed digest and the
// extractor's version. scan/cache is one.
type Cache interface {
	Get(diffID, version string) (*inventory.Contents, bool)
	Put(diffID, version string, c *inventory.Contents) error
}

// Options say how to scan. The zero value scans for packages and checks, with
// neither database nor cache.
type Options struct {
	Tool   string // name and version for the report
	Image  image.Options
	Limits walk.Limits // zero: walk.DefaultLimits
	Jobs   int         // layers read at once; 0: one per processor
	Cache  Cache       // nil: nothing is kept
	// Timeout bounds the reading; what was not read by then is a gap. 0: none.
	Timeout time.Duration

	DB      *vuln.DB // nil: packages are listed, nothing is matched
	Secrets *secret.Scanner
	Checks  bool
	Files   bool // list executables with their digests
	// Allow and Deny are licence expressions; see licence.List. With an Allow
	// list, what stands on neither is denied.
	Allow, Deny []string
	Licenses    bool

	Sign       *sign.Policy // nil: signatures are not looked at
	Base       string       // reference of the base image; "": what labels tell
	Decisions  decide.Inputs
	Thresholds decide.Thresholds
	Now        time.Time // the moment decisions are judged at

	// Progress is told of every step; nil: nobody. It is called from several
	// goroutines.
	Progress func(Progress)
}

// Progress is one step.
type Progress struct {
	Layers, Done, Cached int   // layers altogether, finished, of those from the cache
	Bytes, Size          int64 // read of the blobs, and altogether
}

// Content is what was read of one image, before anything is matched.
type Content struct {
	Image      scan.Image
	Inventory  scan.Inventory
	Signatures []scan.Signature
	Signed     bool // signatures were looked for
	Base       *scan.Base
}

// Scan opens ref, reads it and assembles its report. An error means that there
// is no report; everything less is a gap in it.
func Scan(ctx context.Context, ref string, o Options) (*scan.Report, error) {
	c, err := Read(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return Assemble(c, o)
}

// Read opens ref and reads what it holds.
func Read(ctx context.Context, ref string, o Options) (*Content, error) {
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	img, err := image.Open(ctx, ref, o.Image)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	c := &Content{Image: img.Image}
	switch img.Kind {
	case scan.SBOM:
		if err := c.readSBOM(img); err != nil {
			return nil, err
		}
	default:
		layers, _, gaps, err := ReadLayers(ctx, img, o, nil)
		if err != nil {
			return nil, err
		}
		c = Join(img.Image, layers)
		c.Inventory.Gaps = append(c.Inventory.Gaps, gaps...)
	}
	c.Inventory.Gaps = append(c.Inventory.Gaps, img.Gaps...)
	if o.Secrets != nil {
		c.Inventory.Secrets = append(c.Inventory.Secrets, o.Secrets.Config(img.Config)...)
		c.Image = o.Secrets.Redact(c.Image)
	}
	if o.Sign != nil {
		sigs, gaps := sign.Verify(ctx, img, *o.Sign)
		c.Signatures, c.Signed = sigs, true
		c.Inventory.Gaps = append(c.Inventory.Gaps, gaps...)
	}
	c.findBase(ctx, o)
	return c, nil
}

// Join lays the contents of layers, lowest first, over each other; nil is a lost
// one, whose gap is for the caller to add.
func Join(img scan.Image, layers []*inventory.Contents) *Content {
	c := &Content{Image: img, Inventory: inventory.Merge(layers)}
	if img.Kind == scan.Directory {
		forgetLayers(&c.Inventory)
	}
	return c
}

// Version is that of what reads layers: contents by another are not the same,
// and neither are those that other limits cut short.
func Version(o Options) string {
	return version(extractor(o), limits(o))
}

func version(x *inventory.Extractor, l walk.Limits) string { return x.Version() + "-" + l.Key() }

func limits(o Options) walk.Limits {
	if o.Limits == (walk.Limits{}) {
		return walk.DefaultLimits()
	}
	return o.Limits
}

func extractor(o Options) *inventory.Extractor {
	cfg := inventory.Config{TempDir: o.Image.TempDir}
	if o.Secrets != nil {
		cfg.Secrets = o.Secrets
	}
	return inventory.New(cfg)
}

func (c *Content) readSBOM(img *image.Image) error {
	f, err := os.Open(img.Root)
	if err != nil {
		return err
	}
	defer f.Close()
	inv, of, err := sbom.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", img.Root, err)
	}
	name := img.Name
	c.Inventory, c.Image = inv, of
	c.Image.Kind = scan.SBOM
	if c.Image.Name == "" {
		c.Image.Name = name
	}
	return nil
}

// findBase names the base image. One that was asked for and cannot be opened is
// a gap: findings can then not be told apart by who brought them.
func (c *Content) findBase(ctx context.Context, o Options) {
	if o.Base == "" {
		c.Base = decide.FindBase(c.Image, nil)
		return
	}
	base, err := image.Open(ctx, o.Base, o.Image)
	if err != nil {
		c.Inventory.Gaps = append(c.Inventory.Gaps, scan.Gap{
			Where: "base image " + o.Base, What: err.Error(),
			Means: "what the base image brought is not told apart from the image's own", Do: "check the name given as base image",
		})
		return
	}
	defer base.Close()
	c.Base = decide.FindBase(c.Image, &base.Image)
	if c.Base == nil {
		c.Inventory.Gaps = append(c.Inventory.Gaps, scan.Gap{
			Where: "base image " + o.Base, What: "its layers are not the lowest layers of this image",
			Means: "what the base image brought is not told apart from the image's own",
			Do:    "give the base image it was really built on; the tag may have moved since",
		})
	}
}

// ReadLayers reads the layers of an image, several at once, lowest first; a
// directory is one layer. Those that pass over names stay nil; so do lost ones,
// which are listed by index and have a gap each.
func ReadLayers(ctx context.Context, img *image.Image, o Options, pass func(scan.Layer) bool) (layers []*inventory.Contents, missing []int, gaps []scan.Gap, err error) {
	r := reader{o: o, img: img, x: extractor(o), limits: limits(o)}
	r.version = version(r.x, r.limits)
	if img.Kind == scan.Directory {
		c, err := r.directory(ctx, img.Root)
		if err != nil {
			return nil, nil, nil, err
		}
		return []*inventory.Contents{c}, nil, nil, nil
	}
	r.progress.Layers = len(img.Layers)
	for _, l := range img.Layers {
		r.progress.Size += l.Size
	}
	jobs := o.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	layers = make([]*inventory.Contents, len(img.Layers))
	lost := make([]error, len(img.Layers))
	var g errgroup.Group
	g.SetLimit(jobs)
	// The same layer twice in one image is read once.
	first := map[string]int{}
	for n, l := range img.Layers {
		if _, again := first[l.DiffID]; again && l.DiffID != "" || pass != nil && pass(l) {
			continue
		}
		first[l.DiffID] = n
		g.Go(func() error {
			layers[n], lost[n] = r.layer(ctx, n)
			return nil
		})
	}
	_ = g.Wait()
	for n, l := range img.Layers {
		if from, ok := first[l.DiffID]; ok && from != n && l.DiffID != "" {
			layers[n], lost[n] = layers[from], lost[from]
		}
		if lost[n] != nil {
			missing = append(missing, n)
			gaps = append(gaps, lostLayer(n, l, lost[n]))
		}
	}
	return layers, missing, gaps, nil
}

func lostLayer(n int, l scan.Layer, err error) scan.Gap {
	g := scan.Gap{
		Where: fmt.Sprintf("layer %d %s", n+1, short(l.Digest, l.DiffID)),
		What:  err.Error(),
		Means: "nothing in this layer was examined",
		Do:    "pull or build the image again",
	}
	if errors.Is(err, context.DeadlineExceeded) {
		g.What, g.Do = "the time given was over before it was read", "give more time with --timeout"
	}
	return g
}

type reader struct {
	o        Options
	img      *image.Image
	x        *inventory.Extractor
	limits   walk.Limits
	version  string
	progress Progress
	done     atomic.Int64
	cached   atomic.Int64
	bytes    atomic.Int64
	held     atomic.Int64 // bytes of memory
}

func (r *reader) layer(ctx context.Context, n int) (*inventory.Contents, error) {
	l := r.img.Layers[n]
	if l.MediaType == image.UpperMediaType {
		c, err := r.directory(ctx, r.img.Upper())
		r.step(0, false)
		return c, err
	}
	if r.o.Cache != nil && l.DiffID != "" {
		if c, ok := r.o.Cache.Get(l.DiffID, r.version); ok {
			r.step(l.Size, true)
			return r.hold(c)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	blob, err := r.img.Blob(ctx, n)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	c := r.x.Begin()
	res, err := walk.Layer(ctx, &counted{blob, r}, walk.Want{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size, MediaType: l.MediaType}, r.limits, c)
	if err != nil {
		return nil, err
	}
	contents := c.Finish(res)
	r.step(0, false)
	if r.o.Cache != nil {
		// A layer that could not be kept is read again next time, nothing more.
		_ = r.o.Cache.Put(res.DiffID, r.version, contents)
	}
	return r.hold(contents)
}

// maxHeld bounds what the layers of one image take in memory together; the
// largest honest images stay below a tenth of it.
const maxHeld = 256 << 20

// hold counts what a layer takes, and refuses one that is too much.
func (r *reader) hold(c *inventory.Contents) (*inventory.Contents, error) {
	if n := r.held.Add(c.Weight()); n > maxHeld {
		r.held.Add(-c.Weight())
		return nil, fmt.Errorf("what the layers hold takes more than %d MiB of memory; no honest image does", maxHeld>>20)
	}
	return c, nil
}

func (r *reader) directory(ctx context.Context, root string) (*inventory.Contents, error) {
	c := r.x.Begin()
	res, err := walk.Dir(ctx, root, r.limits, c)
	if err != nil {
		return nil, err
	}
	return c.Finish(res), nil
}

func (r *reader) step(bytes int64, cached bool) {
	r.done.Add(1)
	r.bytes.Add(bytes)
	if cached {
		r.cached.Add(1)
	}
	r.tell()
}

func (r *reader) tell() {
	if r.o.Progress == nil {
		return
	}
	p := r.progress
	p.Done, p.Cached, p.Bytes = int(r.done.Load()), int(r.cached.Load()), r.bytes.Load()
	r.o.Progress(p)
}

// counted tells the progress of a blob about every 4 MiB. Its Close is for the
// walk, which ends a blob that hangs with it.
type counted struct {
	io.ReadCloser
	r *reader
}

const tellEvery = 4 << 20

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	before := c.r.bytes.Add(int64(n)) - int64(n)
	if before/tellEvery != (before+int64(n))/tellEvery {
		c.r.tell()
	}
	return n, err
}

// Assemble makes the report of what was read. It is pure: the same content,
// database, decisions and moment give the same report. An error means that the
// program itself was built from a broken tree.
func Assemble(c *Content, o Options) (*scan.Report, error) {
	inv := c.Inventory
	r := &scan.Report{
		Schema: scan.ReportSchema, Tool: o.Tool, Image: c.Image, Release: inv.Release, Base: c.Base,
		Packages: scan.SortPackages(append([]scan.Package{}, inv.Packages...)),
		Findings: []scan.Finding{}, Secrets: append([]scan.Secret{}, inv.Secrets...), Checks: []scan.Check{},
		Violations: []scan.Violation{}, Gaps: append([]scan.Gap{}, inv.Gaps...), Signatures: c.Signatures,
	}
	if c.Base != nil {
		for n := range r.Image.Layers {
			r.Image.Layers[n].Base = n < c.Base.Layers
		}
	}
	if o.DB != nil {
		r.Database = o.DB.Info()
		findings, gaps := o.DB.Match(inv.Release, r.Packages)
		if err := o.DB.Describe(findings); err != nil {
			gaps = append(gaps, scan.Gap{Where: "advisories", What: err.Error(), Means: "findings have no summaries", Do: "check the database: gabion db verify", Minor: true})
		}
		r.Findings = append(r.Findings, findings...)
		r.Gaps = append(r.Gaps, judging(gaps)...)
	} else {
		r.Gaps = append(r.Gaps, scan.Gap{Where: "advisories", What: "no database was used", Means: "packages are listed, vulnerabilities are not looked for", Minor: true, Judging: true})
	}
	if o.Checks {
		unseen := []string{}
		if o.Secrets == nil {
			unseen = append(unseen, "secrets")
		}
		checks, err := check.Judge(c.Image, inv, unseen...)
		if err != nil {
			return nil, err
		}
		r.Checks = append(r.Checks, checks...)
	}
	if o.Licenses || len(o.Allow)+len(o.Deny) > 0 {
		licenses, err := licence.List(r.Packages, o.Allow, o.Deny)
		if err != nil {
			return nil, err
		}
		// A list of what is allowed is meant to be the whole of it.
		for i := range licenses {
			if len(o.Allow) > 0 && licenses[i].Verdict == licence.Unlisted {
				licenses[i].Verdict = licence.Denied
			}
		}
		r.Licenses = licenses
	}
	if o.Files {
		r.Files = append([]scan.File{}, inv.Files...)
	}
	read := len(r.Gaps)
	decide.Apply(r, o.Decisions, o.Now)
	judging(r.Gaps[min(read, len(r.Gaps)):])
	r.Plan = decide.Plan(r)
	r.Violations = append(r.Violations, decide.Judge(r, o.Thresholds)...)
	if o.Sign != nil && c.Signed {
		r.Violations = append(r.Violations, o.Sign.Judge(c.Signatures)...)
	}
	r.Sort()
	return r, nil
}

// judging marks gaps that come of the database or of decisions.
func judging(gaps []scan.Gap) []scan.Gap {
	for i := range gaps {
		gaps[i].Judging = true
	}
	return gaps
}

// forgetLayers marks that a directory has none.
func forgetLayers(inv *scan.Inventory) {
	for i := range inv.Packages {
		inv.Packages[i].Layer = -1
	}
	for i := range inv.Files {
		inv.Files[i].Layer = -1
	}
	for i := range inv.Secrets {
		inv.Secrets[i].Layer = -1
	}
}

func short(digests ...string) string {
	for _, d := range digests {
		if d != "" {
			return d[:min(len(d), 19)]
		}
	}
	return ""
}
