// Package detect finds behaviour that detections describe in the happenings of
// containers: one happening, several within a time, or a burst.
//
// It is pure: happenings come in one after another, matches go out; it has no
// clock, reads no file and forbids nothing. What detections exist is content;
// who translates what the kernel saw into happenings is the agent. The one
// idea: a step of a detection is looked at only for happenings of its kinds
// and programs (an index finds them), its expression is bounded in cost, and
// everything remembered of a container is bounded in number, with what found
// no room counted.
package detect

//go:generate go run ./internal/refdoc ../../docs/reference/detections.md
