package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
)

// rings are the readers of what the kernel tells at once.
type rings struct {
	denials, observations *ringbuf.Reader
}

func (r *rings) open(m *Maps) error {
	var err error
	if r.denials, err = ringbuf.NewReader(m.Denials); err != nil {
		return fmt.Errorf("open ring of denials: %w", err)
	}
	if r.observations, err = ringbuf.NewReader(m.Observations); err != nil {
		return fmt.Errorf("open ring of observations: %w", err)
	}
	return nil
}

// close also makes readers return. It may be called twice.
func (r *rings) close() error {
	var errs []error
	for _, rd := range []*ringbuf.Reader{r.denials, r.observations} {
		if rd != nil {
			errs = append(errs, rd.Close())
		}
	}
	return errors.Join(errs...)
}

// read hands records to fn until ctx ends.
func read(ctx context.Context, r *ringbuf.Reader, fn func([]byte)) error {
	var rec ringbuf.Record
	for {
		err := r.ReadInto(&rec)
		switch {
		case err == nil:
			fn(rec.RawSample)
		case errors.Is(err, ringbuf.ErrClosed) && ctx.Err() != nil:
			return nil
		default:
			return fmt.Errorf("read kernel ring: %w", err)
		}
	}
}

func (e *Engine) readDenials(ctx context.Context) error {
	return read(ctx, e.rings.denials, func(raw []byte) {
		if len(raw) < 4 {
			return
		}
		switch binary.LittleEndian.Uint32(raw) {
		case recCause:
			e.report.poke()
		case recStart:
			if s, ok := parseStart(raw); ok {
				e.started(s)
			}
		case recVerify:
			if s, ok := parseStart(raw); ok {
				select {
				case e.verify <- s:
				case <-ctx.Done():
				}
			}
		case recMapped:
			if r, ok := parseMapped(raw); ok {
				select {
				case e.mapped <- r:
				case <-ctx.Done():
				}
			}
		}
	})
}

func (e *Engine) readObservations(ctx context.Context) error {
	return read(ctx, e.rings.observations, func(raw []byte) {
		if o, ok := e.fileSeen(raw); ok {
			e.observed(o)
			return
		}
		cid, d, ok := parseSeen(raw)
		if !ok {
			return
		}
		id, ok := e.containerID(cid)
		if !ok {
			return
		}
		o := guard.Observation{ContainerID: id, Kind: event.ProcessExec, Time: e.wall(d.Time), InImage: d.InImage != 0, Signals: signalWords(d.Signals)}
		o.Process, o.Path, o.Applet = e.process(cid, &d)
		e.observed(o)
	})
}

func (e *Engine) observed(o guard.Observation) {
	e.report.mu.Lock()
	defer e.report.mu.Unlock()
	e.sink.Observed(o)
}

func parseStart(raw []byte) (startRecord, bool) {
	var s startRecord
	if len(raw) < binary.Size(s) {
		return s, false
	}
	_, err := binary.Decode(raw, binary.LittleEndian, &s)
	return s, err == nil && (s.Type == recStart || s.Type == recVerify)
}

func parseMapped(raw []byte) (mapRecord, bool) {
	var r mapRecord
	if len(raw) < binary.Size(r) {
		return r, false
	}
	_, err := binary.Decode(raw, binary.LittleEndian, &r)
	return r, err == nil && r.Type == recMapped && r.PathLen <= pathBuf
}

// parseSeen reads a record of first-seen behaviour; its path may be cut short.
func parseSeen(raw []byte) (cid uint32, d execDetail, ok bool) {
	if len(raw) < 8+detailFixed || binary.LittleEndian.Uint32(raw) != recSeen {
		return 0, d, false
	}
	var full [8 + detailFixed + pathBuf]byte
	n := copy(full[:], raw)
	if _, err := binary.Decode(full[8:], binary.LittleEndian, &d); err != nil {
		return 0, d, false
	}
	d.PathLen = min(d.PathLen, uint16(n-8-detailFixed))
	return binary.LittleEndian.Uint32(raw[4:]), d, true
}
