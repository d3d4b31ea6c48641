// Package registry examines whole registries: it lists repositories and tags,
// scans every distinct manifest once, keeps to a schedule, hears of pushes, and
// matches stored inventories again when the database changes.
//
// It does not look into images; a Scan function does. The one idea: content is
// named by its digest, so what was examined once need never be pulled again:
// a sweep asks the results what is known, and holds an image back while another
// one is fetching a layer they share.
package registry

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Target is a registry and what of it is examined.
type Target struct {
	Name     string // of the ScanTarget, for messages
	Registry string // host[:port]
	// PlainHTTP and SkipTLSVerify weaken the transport; CAFile adds authorities.
	PlainHTTP, SkipTLSVerify bool
	CAFile                   string
	Credentials              Credentials
	// Repositories are listed ones; empty: those of the catalogue.
	Repositories []string
	// Include and Exclude are globs over repository names ("team/**", "*/cache");
	// empty Include: all.
	Include, Exclude []string
	Tags             TagFilter
	// Platforms that are examined of an index ("linux/amd64"); empty: linux/amd64.
	Platforms []string
	// Schedule is a cron expression, "@daily" or "@every 6h"; empty: once.
	Schedule string
	// Parallel is how many images are examined at once; 0: 2.
	Parallel int
	// BytesPerSecond bounds what is pulled; 0: unbounded.
	BytesPerSecond int64
	// Timeout bounds one image; 0: 10 minutes.
	Timeout time.Duration
}

// TagFilter chooses tags.
type TagFilter struct {
	Include, Exclude []string // globs
	Newest           int      // how many are left; 0: all
	// Order tells what newest means: "version" (default; natural order of the
	// names) or "created" (reads each image's configuration).
	Order string
}

// Credentials say where user name and password or token are, never what.
type Credentials struct {
	UserEnv, PasswordEnv string // environment variables
	// File holds "user:password" or a token on one line.
	File string
	// Anonymous asks without credentials; otherwise, and when nothing else is
	// given, Docker's configuration and its helpers are used.
	Anonymous bool
}

// Access is how a job's image is reached.
type Access struct {
	PlainHTTP, SkipTLSVerify  bool
	CAFile                    string
	Username, Password, Token string
	Anonymous                 bool
	// Transport is bounded in bandwidth and polite to the host.
	Transport http.RoundTripper
}

// Job is one image to examine.
type Job struct {
	Ref      string   // host/repository@sha256:...
	Digest   string   // of the manifest
	Platform string   // "linux/amd64"
	Names    []string // host/repository:tag that point at it, sorted
	Access   Access
}

// Kept is what is kept of an image so that it never needs to be pulled again:
// everything that was read, nothing that depends on a database or a decision.
// The fields are those of engine.Content. Of Inventory.Files only those that
// checks judge (setuid, setgid, writable by all) survive Pack.
type Kept struct {
	Image      scan.Image
	Inventory  scan.Inventory
	Signatures []scan.Signature
	Signed     bool
	Base       *scan.Base
}

// Scan examines one image.
type Scan func(ctx context.Context, job Job) (*scan.Report, *Kept, error)

// Results keep what was found. Implementations are safe for concurrent use. An
// error of theirs ends a sweep: what cannot be kept need not be looked for.
type Results interface {
	// Known reports whether an image was read completely and need not be pulled
	// again. Gaps of the inventory speak against it, gaps of matching do not.
	Known(ctx context.Context, digest string) (bool, error)
	// Put keeps what was found by its Image.Digest.
	Put(ctx context.Context, r *scan.Report, k *Kept) error
	// Name records which names point at an image now.
	Name(ctx context.Context, digest string, names []string) error
}

// Deps are what a Sweeper works with. Scan and Results are needed.
type Deps struct {
	Scan    Scan
	Results Results
	Log     *slog.Logger // nil: silent
	Now     func() time.Time
	Sleep   func(ctx context.Context, d time.Duration) error
	// Getenv and ReadFile find credentials; nil: those of package os.
	Getenv   func(string) string
	ReadFile func(string) ([]byte, error)
	// Transport is the network below bandwidth and politeness; nil: made from
	// the target.
	Transport http.RoundTripper
	// Done is told of every sweep that Run made; nil: nobody.
	Done func(Summary)
	// Trouble is told why a sweep that Run began could not be made; nil: nobody.
	Trouble func(error)
}

// Summary is what one sweep did.
type Summary struct {
	Started, Ended     time.Time
	Repositories, Tags int // that were chosen
	Images             int // distinct manifests behind them
	Known, Scanned     int // of the images
	Artifacts          int // tags that are no images (charts, signatures)
	Layers, Distinct   int // of the images scanned, and different ones among them
	Failed             []Failure
	// Incomplete are images with a report that has gaps.
	Incomplete []Failure
	Bytes      int64 // received
	// Interrupted: ctx ended before everything was examined. The next sweep
	// goes on where this one stopped.
	Interrupted bool
}

// Failure is one thing that could not be examined.
type Failure struct {
	Ref string
	Err error
}
