// Package v1alpha1 is the policy language of Gabion: typed kinds of the group
// gabion.dev, their defaults and their validation.
//
// It is the only package besides a client with a promise of compatibility. It
// says what may be written, never what is done with it: compiling is the duty
// of policy. The one idea: a field exists here only when something enforces
// it; a field that the language reserves for later is refused by name.
package v1alpha1
