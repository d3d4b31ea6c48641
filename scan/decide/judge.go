package decide

import "github.com/gabion-dev/gabion/scan"

// Thresholds say what a scan fails for. The zero value fails for nothing.
type Thresholds struct {
	// FailOn is the lowest severity that fails; Unknown: severity alone never does.
	FailOn scan.Severity
	// Unknown: findings of unknown severity fail too.
	Unknown bool
	// KEV: findings with known exploitation fail whatever their severity.
	KEV bool
	// MinPriority is the lowest priority that fails; 0: priority never does.
	MinPriority int
	// FixableOnly and NewOnly let only findings count that have a fix, and that
	// the base image did not bring.
	FixableOnly, NewOnly bool
	// Secrets, Checks and Licenses fail for secrets, failed checks and denied
	// licences that nothing settles.
	Secrets, Checks, Licenses bool
	// Unsigned fails when there is no valid signature.
	Unsigned bool
}

// ParseThresholds reads the words of --fail-on, each of which may be a list
// with commas: a severity, kev, unknown, priority:N, fixable, new, secrets,
// checks, licenses, unsigned. Only fixable or new: any severity.
func ParseThresholds(words ...string) (Thresholds, error) { return Thresholds{}, nil }

// Judge gives the reasons why a report fails, sorted.
func Judge(r *scan.Report, t Thresholds) []scan.Violation { return nil }
