package feed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// Input is one data set to build from.
type Input struct {
	// Name is that of the data set, and of scan.Source: "osv:npm". Several
	// inputs may share one. Empty: made of the path.
	Name    string `json:"name"`
	Path    string `json:"path,omitempty"` // file, archive or directory
	URL     string `json:"url,omitempty"`  // fetched when Path is empty
	Format  string `json:"format"`         // of All; empty: found out
	Licence string `json:"licence,omitempty"`
	// Data is the date of the data set, where its records do not tell.
	Data time.Time `json:"data,omitzero"`
	// Partial says what is known to be missing of it.
	Partial string `json:"partial,omitempty"`
}

// Options say how a database is built. The zero value works.
type Options struct {
	Prose bool      // keep summaries, details and links
	Built time.Time // see vuln.Options
	Jobs  int       // documents read side by side; 0: one per processor
	// KeepGoing builds without a source that fails, and marks it Partial.
	KeepGoing bool
	Limits    intake.Limits
	// CacheDir holds what is fetched; needed for inputs with a URL.
	CacheDir string
	// Progress is called from one goroutine at a time.
	Progress func(Progress)
	Log      *slog.Logger // nil: none
}

// Progress is how far a build is.
type Progress struct {
	Input   string // name
	Stage   string // "fetch", "read", "write"
	Done    int64  // bytes
	Total   int64  // bytes; 0: not known
	Records int
}

// InputReport says what became of one input.
type InputReport struct {
	Input Input `json:"input"`
	Stats Stats `json:"stats"`
	// Passed counts files of an archive or a directory that are no data.
	Passed int    `json:"passed,omitempty"`
	Error  string `json:"error,omitempty"` // with KeepGoing
}

// Result is what a build did.
type Result struct {
	Database scan.Database   `json:"database"`
	Inputs   []InputReport   `json:"inputs"`
	Build    vuln.BuildStats `json:"build"`
}

// Build reads the inputs and writes a database to out, replacing it at once and
// only when everything went well. Equal inputs give equal bytes.
func Build(ctx context.Context, inputs []Input, out string, o Options) (Result, error) {
	return Result{}, errors.New("build database: not built yet")
}

// Public lists the public data sets that may be used, as data in this package.
func Public() ([]Input, error) { return nil, nil }

// Detect finds out the format of a file, archive or directory by its name and
// its first bytes.
func Detect(path string) (Format, error) { return Format{}, errors.New("detect format: not built yet") }
