// Package check judges the configuration of an image: its user, its build
// steps, its files' modes.
//
// It does not look for vulnerable packages or secrets. The one idea: what a
// check is called, why it matters and what to do is data (content/imagechecks),
// its judgement is one small function of the image and the inventory, and what
// the source could not tell is unknown, never passed.
package check

import "github.com/gabion-dev/gabion/scan"

// Judge applies every check, in the order of their ids. Secrets of inv that
// are in the environment, labels or history count as evidence too: have them found
// first. An error means that the binary was built from a broken tree.
func Judge(img scan.Image, inv scan.Inventory) ([]scan.Check, error) { return nil, nil }
