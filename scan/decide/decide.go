package decide

import (
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide/vex"
)

// Inputs are everything that decisions are made from; every part may be absent.
type Inputs struct {
	Ignore     *IgnoreFile
	Exceptions []v1alpha1.Exception
	VEX        []vex.Document
	Use        facts.ImageUse
}

// Apply marks what the base image (r.Base) brought, settles findings, secrets,
// checks and licences, and gives every finding its priority with reasons. Rules
// that are past their date or match nothing become Minor gaps. Hand it a report
// as the matcher made it, once; it is sorted afterwards.
func Apply(r *scan.Report, in Inputs, now time.Time) {}
