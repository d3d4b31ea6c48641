#!/usr/bin/env bash
# All tests of the rooms that talk to the kernel, under the distribution
# kernels of test/vm, and the page that says what works where. Arguments go to
# the tests: -guest 6.1, -suite guard/kernel, -tests REGEXP, -keep FOLDER; with
# any of them the page is left as it is. The kernels are kept in .cache/kernels;
# remove that to get newer ones.
set -uo pipefail
export CGO_ENABLED=0
page=(-page "$PWD/docs/reference/kernels.md")
[ $# -eq 0 ] || page=()
go build -o bin/summary ./test/summary || exit 1
{
	go test -json -count 1 -timeout 90m ./test/vm -run TestKernels -args -full "${page[@]}" "$@" 2>&1
	# What enforcement costs in instructions, when everything is asked for.
	[ $# -gt 0 ] || go test -json -count 1 -timeout 90m ./test/benchkernel/guests -run TestOverhead -args -full 2>&1
} | bin/summary
