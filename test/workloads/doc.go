// Package workloads runs ordinary workloads as their users do, lets Gabion
// learn them, makes policy of what was learned, and runs them again under that
// policy in Protect: not one of their actions may be denied, and their work
// must come out the same.
//
// It attacks nothing; test/attacks does. The one idea: the programs are a
// distribution's own packages, unpacked (never installed) as a layer over the
// machine's root, so that a container has nginx, PostgreSQL or a JVM as an
// image would bring it; and what a Kind does is told in shell lines a reader
// can judge. Each does the same every time: what it does now and then only, no
// two replicas would teach. A Kind that no policy could stop would prove nothing, so each ends
// with one program that it never used, which must be denied.
package workloads

// Kind is one ordinary workload.
type Kind struct {
	Name string
	// Args are the container's first program with its arguments.
	Args []string
	Env  []string
	// Files lie in the image, by their place in it; those that begin with "#!"
	// can be executed.
	Files map[string]string
	// Volumes are directories that get a file system of their own, as volumes
	// and scratch space do.
	Volumes []string
	// Ready is a probe, run in the container until it succeeds. A Kind without
	// one is a job: its first program ends by itself.
	Ready []string
	// Work is done from outside, one exec session for each step, in order.
	Work []Step
	// Output must be among what the first program of a job prints.
	Output string
	// Guest is set for kinds that run in the guests of test/vm too: they need
	// busybox and a few programs besides.
	Guest bool
}

// Step is one exec session in a running workload.
type Step struct {
	Args []string
	// Want must be among what it prints.
	Want string
}

// sh is a step that runs a line in the container's shell.
func sh(line, want string) Step { return Step{Args: []string{"/bin/sh", "-c", line}, Want: want} }

// run is a step that runs one program.
func run(want string, args ...string) Step { return Step{Args: args, Want: want} }
