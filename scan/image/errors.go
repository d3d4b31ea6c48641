package image

import (
	"errors"
	"fmt"
)

// Kinds of errors of Open and Blob, matched with errors.Is.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("not authorised")
	ErrUnsupported  = errors.New("not supported")
	ErrPlatform     = errors.New("no such platform")
	ErrAmbiguous    = errors.New("ambiguous")
	ErrCorrupt      = errors.New("corrupt")
	ErrTooBig       = errors.New("too big")
	ErrUnreachable  = errors.New("not reachable")
)

// Error is what Open and Blob return: what was done, to what, the kind of
// failure, its cause, and what a person can do about it.
type Error struct {
	Doing string // "open image alpine:3.20"
	Kind  error  // one of the above
	Cause error  // may be nil
	Do    string // may be empty
}

func (e *Error) Error() string {
	s := e.Doing + ": " + e.Kind.Error()
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	if e.Do != "" {
		s += "; " + e.Do
	}
	return s
}

// Unwrap makes both the kind and the cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func failed(kind error, do, format string, args ...any) error {
	return &Error{Doing: fmt.Sprintf(format, args...), Kind: kind, Do: do}
}

func failedBy(cause, kind error, do, format string, args ...any) error {
	return &Error{Doing: fmt.Sprintf(format, args...), Kind: kind, Cause: cause, Do: do}
}
