// Package decide says what of a report counts, what to look at first and what
// to do about it.
//
// It neither finds nor prints. The one idea: facts are never removed, they are
// settled by someone who is named, with a reason and a date, and everything
// here is a pure function of the report, the decisions and the time handed in.
package decide
