package feed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

const (
	pieceSize = 256 << 10 // bytes of lines that one worker takes at a time
	smallDoc  = 1 << 20   // documents up to here are read by workers, larger ones as streams
	batchSize = 256       // records handed over at a time
)

// read imports one input: documents are parsed side by side, and what comes of
// them is taken in their order.
func (b *build) read(ctx context.Context, in Input) (InputReport, error) {
	rep := InputReport{Input: in}
	f, ok := ByName(in.Format)
	if !ok {
		return rep, fmt.Errorf("unknown format %q", in.Format)
	}
	jobs := b.o.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	g, gctx := errgroup.WithContext(ctx)
	p := &pipe{format: f, tasks: make(chan task, jobs), order: make(chan chan batch, 4*jobs)}
	g.Go(func() (err error) {
		defer close(p.tasks)
		defer close(p.order)
		rep.Passed, err = intake.Documents(gctx, in.Path, b.o.Limits, func(name string, r io.Reader) error {
			return p.document(gctx, name, r)
		})
		return err
	})
	for range jobs {
		g.Go(func() error {
			for t := range p.tasks {
				if err := p.run(gctx, t.file, bytes.NewReader(t.data), t.out); err != nil {
					return err
				}
			}
			return nil
		})
	}
	t := taker{build: b, report: &rep, name: in.Name}
	for slot := range p.order {
		for x := range slot {
			t.take(x)
		}
	}
	err := g.Wait()
	if err == nil && rep.Stats.Records == 0 {
		err = fmt.Errorf("not one record in it: is it %s?", f.Title)
	}
	return rep, err
}

// batch is a piece of what an importer found; stats come with the last one.
type batch struct {
	records []vuln.Record
	extras  []vuln.Extra
	stats   *Stats
	file    string
}

type task struct {
	file string
	data []byte
	out  chan batch
}

type pipe struct {
	format Format
	tasks  chan task
	order  chan chan batch // in the order of the documents
}

// document cuts a document into tasks, or imports it as a stream.
func (p *pipe) document(ctx context.Context, name string, r io.Reader) error {
	br := bufio.NewReaderSize(r, smallDoc)
	head, err := br.Peek(smallDoc)
	whole := err == io.EOF
	if err != nil && !whole {
		return err
	}
	if p.format.lines && !(whole && len(head) <= pieceSize) {
		if end := bytes.IndexByte(head, '\n'); end > 0 && head[0] == '{' && json.Valid(head[:end]) {
			return p.lines(ctx, name, br)
		}
	}
	if whole {
		return p.give(ctx, name, bytes.Clone(head))
	}
	out, err := p.slot(ctx)
	if err != nil {
		return err
	}
	return p.run(ctx, name, br, out)
}

// lines gives pieces that end at the end of a line.
func (p *pipe) lines(ctx context.Context, name string, br *bufio.Reader) error {
	limit := int(intake.DefaultLimits().Value)
	piece := make([]byte, 0, 2*pieceSize)
	for {
		part, err := br.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		piece = append(piece, part...)
		switch {
		case len(piece) > limit:
			return fmt.Errorf("one line: %w", intake.ErrTooBig)
		case err != nil && err != io.EOF:
			continue // in the middle of a long line
		case len(piece) < pieceSize && err == nil:
			continue
		}
		if len(piece) > 0 {
			if err := p.give(ctx, name, piece); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		piece = make([]byte, 0, 2*pieceSize)
	}
}

// slot puts a place for results into the order of documents.
func (p *pipe) slot(ctx context.Context) (chan batch, error) {
	out := make(chan batch, 4)
	select {
	case p.order <- out:
		return out, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) give(ctx context.Context, name string, data []byte) error {
	out, err := p.slot(ctx)
	if err != nil {
		return err
	}
	select {
	case p.tasks <- task{file: name, data: data, out: out}:
		return nil
	case <-ctx.Done():
		close(out)
		return ctx.Err()
	}
}

// run imports a document into its slot.
func (p *pipe) run(ctx context.Context, name string, r io.Reader, out chan<- batch) error {
	defer close(out)
	c := &collector{ctx: ctx, out: out}
	stats, err := p.format.Import(ctx, r, c)
	if sent := c.send(batch{records: c.now.records, extras: c.now.extras, stats: &stats, file: name}); err == nil {
		err = sent
	}
	if err != nil && name != "" {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// collector is the sink of one document.
type collector struct {
	ctx context.Context
	out chan<- batch
	now batch
}

func (c *collector) Add(r vuln.Record) error {
	c.now.records = append(c.now.records, r)
	return c.full()
}

func (c *collector) Extra(e vuln.Extra) error {
	c.now.extras = append(c.now.extras, e)
	return c.full()
}

func (c *collector) full() error {
	if len(c.now.records)+len(c.now.extras) < batchSize {
		return nil
	}
	b := c.now
	c.now = batch{}
	return c.send(b)
}

func (c *collector) send(b batch) error {
	select {
	case c.out <- b:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// taker hands what importers found to the builder, in one goroutine.
type taker struct {
	build  *build
	report *InputReport
	name   string
}

func (t *taker) take(b batch) {
	for _, r := range b.records {
		r.Source = t.name
		t.check(r.ID, t.build.to.Add(r), !r.Withdrawn.IsZero())
	}
	for _, e := range b.extras {
		t.check(e.CVE, t.build.to.Extra(e), false)
	}
	if b.stats != nil {
		t.report.Stats.Merge(*b.stats, b.file)
		t.build.progress(Progress{Input: t.name, Stage: "read", Records: t.report.Stats.Records})
	}
}

// check corrects the count when the builder refused a record that its importer
// had counted as good.
func (t *taker) check(id string, err error, withdrawn bool) {
	if err == nil {
		return
	}
	s := &t.report.Stats
	if withdrawn {
		s.Withdrawn--
	} else {
		s.Kept--
	}
	s.Refuse(id, err.Error())
}
