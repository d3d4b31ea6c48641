// Package attacks is the evasion suite: what an intruder in a container would
// try so as to get round the policy, each beside a harmless twin that the same
// policy must let pass.
//
// It judges the product and is no part of it. Everything stays inside a
// container of the suite's own: no exploit, no miner, no address beyond the
// loopback. The one idea: what counts is the effect. A case has an effect that
// can be seen (a program said its word, a byte came back); it must happen in a
// container without policy, or the case proves nothing; it must happen for the
// twin; and under the policy it must not. Only then is the engine asked whether
// it counted exactly that. What is expected of each backend stands in the case,
// with the reason where it is less than prevention; docs/reference/evasion.md
// is that record, and a run that ends otherwise fails, for better or worse.
//
// The attacker is the test binary itself: it is the first program of the
// container, takes the names of cases from its standard input, and runs each in
// a process of its own.
package attacks
