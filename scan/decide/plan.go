package decide

import "github.com/gabion-dev/gabion/scan"

// Plan groups the open findings that have a fix into things to do, best first.
// Priorities must be there: see Apply.
func Plan(r *scan.Report) []scan.Step { return nil }
