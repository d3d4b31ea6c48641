package server

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// counters count since the start. They name no client and no image.
type counters struct {
	requests, refused, scans, shared, failed, layers, received atomic.Int64
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	running, waiting := s.queue.lengths()
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"requests_total", "counter", "Requests with or without a valid token.", s.count.requests.Load()},
		{"refused_total", "counter", "Requests that were refused.", s.count.refused.Load()},
		{"scans_total", "counter", "Scans and merges that clients waited for.", s.count.scans.Load()},
		{"scans_shared_total", "counter", "Of those, the ones that joined another's.", s.count.shared.Load()},
		{"scans_failed_total", "counter", "Scans and merges without a report.", s.count.failed.Load()},
		{"layers_received_total", "counter", "Layers that clients examined.", s.count.layers.Load()},
		{"received_bytes_total", "counter", "Bytes of request bodies.", s.count.received.Load()},
		{"running", "gauge", "Scans running.", int64(running)},
		{"waiting", "gauge", "Scans waiting.", int64(waiting)},
	} {
		fmt.Fprintf(w, "# HELP gabion_scan_server_%[1]s %[2]s\n# TYPE gabion_scan_server_%[1]s %[3]s\ngabion_scan_server_%[1]s %[4]d\n", m.name, m.help, m.kind, m.value)
	}
}
