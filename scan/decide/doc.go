// Package decide says what of a report counts, what to look at first and what
// to do about it.
//
// It neither finds nor prints. The one idea: facts are never removed, they are
// settled by someone who is named, with a reason and a date, and everything
// here is a pure function of the report, the decisions and the time handed in.
//
// # Priority
//
// The priority of an open finding is a sum of points, at most 100; settled ones
// have 0. Every known fact adds the same points whatever the others are, so no
// fact can push a finding down but the two that say so:
//
//	severity    critical 36, high 26, medium 16, low 8, negligible 1, and up to 4
//	            for the CVSS base score; without a severity the word that the
//	            score stands for, and 14 without a score
//	exploited   the most of: CISA KEV 23 (25 by ransomware), SSVC exploitation
//	            active 20 or poc 5, EPSS up to 20 (20 times the root of the
//	            probability)
//	SSVC        automatable 2, total impact 2
//	fix         5 when there is one, and 2 when it has been due for 30 days: the
//	            database's newest fact against the day of publication, so that
//	            the clock does not change a report
//	own layer   4 when the base image is known and did not bring it
//	used        12 when a program of the package was seen running; -10 when its
//	            programs were watched for and none ran
//	exposed     8 when a workload of the image was reached from outside; -4 when
//	            that was watched for and did not happen
package decide
