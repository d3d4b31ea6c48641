// Package minicontainer makes real containers without any runtime, for the
// demonstration and for tests: own mount, pid, uts, ipc and network
// namespaces, an overlay root, the usual devices, a cgroup of their own, the
// usual reduced capabilities.
//
// It is no container runtime for strangers' programs: there is no user
// namespace, no seccomp filter, no limit on memory, no image handling.
//
// The one idea: the way into a container is the way runc takes it, so that
// what guards containers sees the same thing. This program runs itself again
// with a hidden argument (Init), the copy enters the cgroup, then the
// namespaces, and forks the container's first process, which executes nothing
// but the container's own program. The copy is multi-threaded Go, so the
// process forked from it may not run Go code: it runs a list of system calls
// prepared beforehand (program.go). It is forked with CLONE_PARENT and thus a
// child of the caller of Start; the copy is gone before Start returns.
//
// Every program and every test that calls Start must call Init first thing in
// main (TestMain).
package minicontainer
