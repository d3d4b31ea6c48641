package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/fetch"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// Input is one data set to build from.
type Input struct {
	// Name is that of the data set, and of scan.Source: "osv:npm". Several
	// inputs may share one. Empty: made of the path.
	Name string `json:"name"`
	Path string `json:"path,omitempty"` // file, archive or directory
	URL  string `json:"url,omitempty"`  // fetched when Path is empty
	// Pointer says that URL is of a short text which holds the name of the file,
	// relative to URL: how publishers with dated archives name the latest.
	Pointer bool   `json:"pointer,omitempty"`
	Format  string `json:"format"` // of All; empty: found out
	Licence string `json:"licence,omitempty"`
	// Data is the date of the data set, where its records do not tell.
	Data time.Time `json:"data,omitzero"`
	// Partial says what is known to be missing of it.
	Partial string `json:"partial,omitempty"`
}

// Options say how a database is built. The zero value works for files.
type Options struct {
	Prose bool      // keep summaries, details and links
	Built time.Time // see vuln.Options
	Jobs  int       // documents read side by side; 0: one per processor
	// KeepGoing builds without a source that fails, or without the rest of it,
	// and marks it Partial.
	KeepGoing bool
	Limits    intake.Limits
	// Fetch says how inputs with a URL are fetched; its Dir is needed then.
	Fetch fetch.Options
	// Progress is called from one goroutine at a time.
	Progress func(Progress)
	Log      *slog.Logger // nil: none
}

// Progress is how far a build is.
type Progress struct {
	Input   string // name
	Stage   string // "fetch", "read", "write"
	Done    int64  // bytes fetched
	Total   int64  // bytes to fetch; 0: not known
	Records int    // read so far of this input
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
	if len(inputs) == 0 {
		return Result{}, errors.New("build database: no inputs given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &build{o: o, to: vuln.NewBuilder(vuln.Options{Built: o.Built, Prose: o.Prose})}
	for i, in := range inputs {
		in, err := b.prepare(ctx, i, in)
		rep := InputReport{Input: in}
		if err == nil {
			rep, err = b.read(ctx, in)
		}
		if err != nil {
			if !o.KeepGoing || ctx.Err() != nil {
				return b.result, fmt.Errorf("build database from %s: %w", in.Name, err)
			}
			rep.Error = err.Error()
			o.Log.Warn("source is incomplete", "source", in.Name, "error", err)
		}
		o.Log.Info("source read", "source", in.Name, "what", rep.Stats.String())
		b.result.Inputs = append(b.result.Inputs, rep)
	}
	return b.finish(ctx, out)
}

type build struct {
	o      Options
	to     *vuln.Builder
	result Result
}

func (b *build) progress(p Progress) {
	if b.o.Progress != nil {
		b.o.Progress(p)
	}
}

// prepare names an input, fetches it and finds out its format.
func (b *build) prepare(ctx context.Context, i int, in Input) (Input, error) {
	if in.Name == "" {
		in.Name = nameOf(in, i)
	}
	if in.Path == "" {
		if in.URL == "" {
			return in, errors.New("neither a path nor an address")
		}
		o := b.o.Fetch
		o.Progress = func(done, total int64) {
			b.progress(Progress{Input: in.Name, Stage: "fetch", Done: done, Total: total})
		}
		address, err := in.address(ctx, o)
		if err != nil {
			return in, err
		}
		f, err := fetch.Get(ctx, address, o)
		if err != nil {
			return in, err
		}
		in.Path = f.Path
		if in.Data.IsZero() {
			in.Data = f.Modified
		}
	}
	if in.Format == "" {
		f, err := Detect(ctx, in.Path)
		if err != nil {
			return in, err
		}
		in.Format = f.Name
	}
	return in, nil
}

// address is where the file itself is. What points to it must lead to the same
// server.
func (in *Input) address(ctx context.Context, o fetch.Options) (string, error) {
	if !in.Pointer {
		return in.URL, nil
	}
	o.MaxBytes = 4096
	f, err := fetch.Get(ctx, in.URL, o)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return "", fmt.Errorf("read what %s points to: %w", in.URL, err)
	}
	base, err := url.Parse(in.URL)
	if err != nil {
		return "", fmt.Errorf("read address: %w", err)
	}
	to, err := base.Parse(strings.TrimSpace(string(text)))
	if err != nil || strings.TrimSpace(string(text)) == "" || to.Host != base.Host || to.Scheme != base.Scheme {
		return "", fmt.Errorf("read what %s points to: %.80q names no file beside it", in.URL, text)
	}
	return to.String(), nil
}

// nameOf makes a name of a path: "/data/npm.ndjson.zst" is "npm".
func nameOf(in Input, i int) string {
	base, _, _ := strings.Cut(filepath.Base(in.Path+in.URL), "?")
	base, _, _ = strings.Cut(strings.TrimLeft(base, "."), ".")
	if base == "" || base == "/" {
		return fmt.Sprintf("input-%d", i+1)
	}
	return base
}

// finish declares the sources and writes the database.
func (b *build) finish(ctx context.Context, out string) (Result, error) {
	var sources []scan.Source
	for _, rep := range b.result.Inputs {
		s := sourceOf(rep)
		i := slices.IndexFunc(sources, func(o scan.Source) bool { return o.Name == s.Name })
		if i < 0 {
			sources = append(sources, s)
			continue
		}
		if s.Data.After(sources[i].Data) {
			sources[i].Data = s.Data
		}
		sources[i].Licence = join(sources[i].Licence, s.Licence)
		sources[i].Partial = join(sources[i].Partial, s.Partial)
	}
	for _, s := range sources {
		b.to.Source(s)
	}
	b.progress(Progress{Stage: "write"})
	if err := ctx.Err(); err != nil {
		return b.result, fmt.Errorf("build database: %w", err)
	}
	db, err := b.to.Write(out)
	b.result.Database, b.result.Build = db, b.to.Stats()
	if err != nil {
		return b.result, fmt.Errorf("build database: %w", err)
	}
	return b.result, nil
}

// sourceOf tells of a data set, and what is missing of it.
func sourceOf(rep InputReport) scan.Source {
	s := scan.Source{Name: rep.Input.Name, Licence: rep.Input.Licence, Data: rep.Input.Data, Partial: rep.Input.Partial}
	if s.Data.IsZero() {
		s.Data = rep.Stats.Newest
	}
	if rep.Stats.Bad > 0 {
		s.Partial = join(s.Partial, fmt.Sprintf("%d of %d records could not be read", rep.Stats.Bad, rep.Stats.Records))
	}
	if rep.Error != "" {
		s.Partial = join(s.Partial, "could not be read to its end")
	}
	return s
}

// join adds a remark to others, in an order that does not depend on that of
// the inputs.
func join(a, b string) string {
	list := slices.DeleteFunc(append(strings.Split(a, "; "), strings.Split(b, "; ")...), func(s string) bool { return s == "" })
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "; ")
}
