package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

// Bounds of an export, in events.
const (
	exportDefault = 10_000
	exportMost    = 100_000
)

// FilterInput selects events; the web UI's address has the same names.
type FilterInput struct {
	Kind        []string `query:"kind" maxItems:"30" doc:"process.exec, or process for every process.*"`
	MinSeverity string   `query:"severity" enum:"info,low,medium,high,critical" doc:"This and above"`
	Effect      []string `query:"effect" maxItems:"4" enum:"observed,would-block,blocked,not-blocked"`
	Namespace   string   `query:"namespace" maxLength:"253"`
	Workload    string   `query:"workload" maxLength:"253" doc:"Name within namespace"`
	Container   string   `query:"container" maxLength:"128" doc:"Identifier, or at least its first 12 characters"`
	Policy      string   `query:"policy" maxLength:"512" doc:"WorkloadPolicy/shop/checkout"`
	Text        string   `query:"q" maxLength:"200" doc:"In message, path, process, peer and container"`
	Since       string   `query:"since" maxLength:"40" doc:"RFC 3339, or a duration as that long ago"`
	Until       string   `query:"until" maxLength:"40"`
}

// query turns the input into the store's words.
func (s *Server) query(in FilterInput) (store.Query, error) {
	q := store.Query{
		MinSeverity: event.Severity(in.MinSeverity), Namespace: in.Namespace, Workload: in.Workload,
		ContainerID: in.Container, Policy: in.Policy, Text: in.Text,
	}
	for _, k := range in.Kind {
		known := slices.ContainsFunc(event.Kinds(), func(e event.Kind) bool {
			return string(e) == k || strings.HasPrefix(string(e), k+".")
		})
		if !known {
			return q, problem(http.StatusUnprocessableEntity, "refused", fmt.Sprintf("There is no kind of event %q.", clip(k, 50)))
		}
		q.Kinds = append(q.Kinds, event.Kind(k))
	}
	for _, e := range in.Effect {
		q.Effects = append(q.Effects, event.Effect(e))
	}
	if in.Container != "" && len(in.Container) < 12 {
		return q, problem(http.StatusUnprocessableEntity, "refused", "A container is named by at least 12 characters of its identifier.")
	}
	var err error
	if q.Since, err = s.parseTime("since", in.Since); err != nil {
		return q, err
	}
	q.Until, err = s.parseTime("until", in.Until)
	return q, err
}

func (s *Server) eventRoutes(r *registrar) {
	type listInput struct {
		FilterInput
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
		Cursor string `query:"cursor" maxLength:"200" doc:"next of the page before"`
	}
	route(r, r.op("list-events", "Events", "Events, newest first", 422), "list events",
		func(ctx context.Context, in *listInput) (*body[store.Page], error) {
			q, err := s.query(in.FilterInput)
			if err != nil {
				return nil, err
			}
			q.Limit, q.Cursor = in.Limit, in.Cursor
			p, err := s.deps.Store.Events(ctx, q)
			return &body[store.Page]{p}, err
		})

	type countInput struct {
		FilterInput
		By   string `query:"by" enum:"kind,effect,severity,workload"`
		Step string `query:"step" maxLength:"20" doc:"Width of a bucket as a duration; none: one bucket"`
	}
	type eventCounts struct {
		Items []store.Bucket `json:"items"`
	}
	route(r, r.op("count-events", "Events", "How many happenings, over time", 422), "count events",
		func(ctx context.Context, in *countInput) (*body[eventCounts], error) {
			q, err := s.query(in.FilterInput)
			if err != nil {
				return nil, err
			}
			cq := store.CountQuery{Query: q, By: in.By}
			if in.Step != "" {
				if cq.Step, err = time.ParseDuration(in.Step); err != nil || cq.Step < 0 {
					return nil, problem(http.StatusUnprocessableEntity, "refused", fmt.Sprintf("step=%q is no duration (5m, 1h).", clip(in.Step, 20)))
				}
			}
			b, err := s.deps.Store.Counts(ctx, cq)
			return &body[eventCounts]{eventCounts{b}}, err
		})

	type oneInput struct {
		ID string `path:"id" maxLength:"256"`
	}
	route(r, r.op("get-event", "Events", "One event", 404), "read the event",
		func(ctx context.Context, in *oneInput) (*body[event.Event], error) {
			e, err := s.deps.Store.Event(ctx, in.ID)
			return &body[event.Event]{e}, err
		})

	type exportInput struct {
		FilterInput
		Limit int `query:"limit" minimum:"1" maximum:"100000" doc:"At most this many, newest first (default 10000)"`
	}
	export := r.op("export-events", "Events", "Events as NDJSON, one a line, newest first", 422)
	export.Responses = streamResponse("application/x-ndjson")
	route(r, export, "export events", func(_ context.Context, in *exportInput) (*huma.StreamResponse, error) {
		q, err := s.query(in.FilterInput)
		if err != nil {
			return nil, err
		}
		limit := in.Limit
		if limit == 0 {
			limit = exportDefault
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) { s.export(ctx, q, min(limit, exportMost)) }}, nil
	})

	type streamInput struct {
		FilterInput
		LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"Go on after this seq; browsers send it by themselves"`
		After       string `query:"after" maxLength:"20" doc:"The same as a parameter; without both: from now on"`
	}
	stream := r.op("stream-events", "Events", "Events as they come (server-sent events; id is the seq, data an event)", 422, 503)
	stream.Responses = streamResponse("text/event-stream")
	route(r, stream, "stream events", func(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
		q, err := s.query(in.FilterInput)
		if err != nil {
			return nil, err
		}
		from := in.LastEventID
		if from == "" {
			from = in.After
		}
		var after uint64
		if from != "" {
			if after, err = strconv.ParseUint(from, 10, 64); err != nil {
				return nil, problem(http.StatusUnprocessableEntity, "refused", fmt.Sprintf("%q is no seq of an event.", from))
			}
		} else {
			st, err := s.deps.Store.Stats(ctx)
			if err != nil {
				return nil, err
			}
			after = st.LastSeq
		}
		select {
		case s.streams <- struct{}{}:
		default:
			return nil, problem(http.StatusServiceUnavailable, "streams", fmt.Sprintf("%d streams are open already. Close a page, or ask for events by page.", maxStreams))
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			defer func() { <-s.streams }()
			s.stream(ctx, after, q)
		}}, nil
	})
}

func streamResponse(contentType string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "OK",
		Content:     map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

// export writes pages of events until limit or the end. The trailer says
// whether there would have been more.
func (s *Server) export(hc huma.Context, q store.Query, limit int) {
	r, w := humago.Unwrap(hc)
	ctx := r.Context()
	out := newStreamWriter(w, s.cfg.stream)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="gabion-events.ndjson"`)
	w.Header().Set("Trailer", "Gabion-Export")
	var page bytes.Buffer
	enc := json.NewEncoder(&page)
	state := "complete"
	for limit > 0 {
		q.Limit = min(limit, store.MaxPage)
		p, err := s.deps.Store.Events(ctx, q)
		if err != nil {
			s.deps.Log.Error("export ended early", "cause", err)
			state = "failed"
			break
		}
		page.Reset()
		for _, e := range p.Events {
			if err := enc.Encode(e); err != nil {
				s.deps.Log.Error("cannot encode an event", "id", e.ID, "cause", err)
			}
		}
		if err := out.write("%s", page.Bytes()); err != nil {
			return // the client is gone
		}
		limit -= len(p.Events)
		if q.Cursor = p.Next; q.Cursor == "" || len(p.Events) == 0 {
			break
		}
		if limit <= 0 {
			state = "truncated"
		}
	}
	w.Header().Set("Gabion-Export", state)
}

// stream sends events as they come. Besides the events it sends "ready" once,
// with the seq it begins after, and a comment every heartbeat; it ends when the
// session does.
func (s *Server) stream(hc huma.Context, after uint64, q store.Query) {
	r, w := humago.Unwrap(hc)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := newStreamWriter(w, s.cfg.stream)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if err := out.write("event: ready\nid: %d\ndata: {\"after\":%d}\n\n", after, after); err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer cancel()
		beat := time.NewTicker(s.cfg.Heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
			}
			if token := identity(ctx).Session; token != "" {
				if _, err := s.sessions.Find(ctx, token, false); err != nil {
					return
				}
			}
			if err := out.write(": still here\n\n"); err != nil {
				return
			}
		}
	})
	err := s.deps.Follow(ctx, after, q, func(batch []event.Event) error {
		for _, e := range batch {
			raw, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("encode event %s: %w", e.ID, err)
			}
			if err := out.write("id: %d\ndata: %s\n\n", e.Seq, raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.deps.Log.Warn("event stream ended", "cause", err)
	}
	cancel()
	group.Wait()
}

// streamWriter lets the events and the heartbeat share a response.
type streamWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// newStreamWriter bounds each piece that is written, not the whole.
func newStreamWriter(w http.ResponseWriter, timeout time.Duration) *streamWriter {
	return &streamWriter{w: w, control: http.NewResponseController(w), timeout: timeout}
}

func (o *streamWriter) write(format string, args ...any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	// A reader who does not read is let go, not waited for.
	if err := o.control.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(o.w, format, args...); err != nil {
		return err
	}
	if err := o.control.Flush(); err != nil {
		return err
	}
	// In silence there is nothing to be late with; HTTP/2 would reset the stream.
	return o.control.SetWriteDeadline(time.Time{})
}
