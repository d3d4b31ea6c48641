// Package vex reads and writes statements about whether a vulnerability matters
// for a product: OpenVEX, CSAF and CycloneDX in, OpenVEX out.
//
// It neither fetches documents nor changes findings; decide does that. The one
// idea: three formats become one list of statements, a statement applies when
// its vulnerability and its product are named exactly, and what cannot be
// understood is listed as Skipped, never guessed.
package vex

import (
	"time"
)

// Status is what a statement says of a vulnerability in a product.
type Status string

// Statuses.
const (
	NotAffected        Status = "not_affected"
	Affected           Status = "affected"
	Fixed              Status = "fixed"
	UnderInvestigation Status = "under_investigation"
)

// Formats of documents.
const (
	OpenVEX   = "openvex"
	CSAF      = "csaf"
	CycloneDX = "cyclonedx"
)

// Bounds of what is read. What is over a bound is refused.
const (
	MaxBytes    = 64 << 20
	MaxProducts = 500_000 // products of all statements together
)

// Document is one document's statements, whatever its format.
type Document struct {
	Name   string // of the file, for messages
	Format string // OpenVEX, CSAF or CycloneDX
	ID     string // the document's own
	Author string
	Issued time.Time
	// Statements in the order of the document. Those that inherit their time
	// from the document have it.
	Statements []Statement
	// Skipped says what of the document could not be used, and why.
	Skipped []string
}

// Statement is one judgement on one vulnerability.
type Statement struct {
	IDs      []string // of the vulnerability, all of its names
	Products []Product
	Status   Status
	// Justification is a word of OpenVEX or CycloneDX for NotAffected; Note the
	// author's own words (impact, or what to do). NotAffected has one of them.
	Justification, Note string
	Time                time.Time
}

// Product is what a statement is about. Any of its names is enough.
type Product struct {
	// Names are package URLs, image references, digests ("sha256:...").
	Names []string
	// Components narrow the statement to these parts of the product.
	Components []Product
}
