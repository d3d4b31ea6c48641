package console

import (
	"fmt"
	"net/http"
)

// metrics answers in the text format that Prometheus reads. It needs no
// sign-in, so it has numbers of the node and no names: how many containers are
// in which state, and what became of the kernel programs' records. The numbers
// of each container are in the overview.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	o, err := s.deps.Platform.Overview(r.Context())
	if err != nil {
		s.writeError(w, r, problem(http.StatusServiceUnavailable, "unavailable", "The overview could not be read: "+err.Error()))
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP gabion_%s %s\n# TYPE gabion_%s %s\n", name, help, name, kind)
	}
	head("containers", "gauge", "Containers by what is done for them.")
	for _, c := range []struct {
		state string
		n     int
	}{{"enforced", o.Coverage.Enforced}, {"monitored", o.Coverage.Monitored}, {"learning", o.Coverage.Learning}, {"blind", o.Coverage.Blind}} {
		fmt.Fprintf(w, "gabion_containers{state=%q} %d\n", c.state, c.n)
	}
	seen, lost := map[string]uint64{}, map[string]uint64{}
	for _, a := range o.Records {
		seen[a.Ring] += a.Seen
		lost[a.Ring] += a.Lost
	}
	rings := []string{"denials", "observations"}
	head("kernel_records", "gauge", "Records that kernel programs made for running containers, the lost among them.")
	for _, ring := range rings {
		fmt.Fprintf(w, "gabion_kernel_records{ring=%q} %d\n", ring, seen[ring])
	}
	head("kernel_records_lost", "gauge", "Of those, the ones that found no room in the ring.")
	for _, ring := range rings {
		fmt.Fprintf(w, "gabion_kernel_records_lost{ring=%q} %d\n", ring, lost[ring])
	}
	head("unit_ok", "gauge", "Parts of the process: 1 when well.")
	for _, u := range o.Units {
		ok := 0
		if u.State == UnitOK {
			ok = 1
		}
		fmt.Fprintf(w, "gabion_unit_ok{unit=%q} %d\n", u.Name, ok)
	}
}
