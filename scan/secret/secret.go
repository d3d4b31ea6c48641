// Package secret finds credentials in files of an image and in its
// configuration.
//
// It neither opens images nor decides whether a finding matters. The one idea:
// every detector is data (content/secrets), and one pass over the text for all
// their keywords chooses the few expressions that run, each on a small window;
// what is found leaves this package masked, with a fingerprint, and never as
// itself.
package secret

import "github.com/gabion-dev/gabion/scan"

// Scanner finds secrets. It is safe for concurrent use.
type Scanner struct{}

// New makes a Scanner of the embedded detectors. An error means that the
// binary was built from a broken tree.
func New() (*Scanner, error) { return &Scanner{}, nil }

// Version changes whenever results may change.
func (s *Scanner) Version() string { return "" }

// Wants reports whether a file is worth scanning, by its path (with or without
// leading slash), mode bits and size in bytes. It is true for files that are named like
// a credential whatever their size: a caller that cannot buffer one must say
// so with a Gap.
func (s *Scanner) Wants(path string, mode uint32, size int64) bool { return false }

// Scan finds the secrets of one file's content, in order of lines. Layer and
// Deleted are the caller's to fill.
func (s *Scanner) Scan(path string, content []byte) []scan.Secret { return nil }

// Config finds the secrets of an image's environment, labels and history.
func (s *Scanner) Config(c scan.Config) []scan.Secret { return nil }
