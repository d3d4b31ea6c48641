// Package archtest checks that the house keeps its plan: which room may import
// which, and which third-party package may be used where.
//
// It has no code for the product. The one idea: the two tables in
// archtest_test.go are the plan; a change of structure is a change of a table,
// made on purpose and seen in review.
package archtest
