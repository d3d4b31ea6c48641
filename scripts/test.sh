#!/usr/bin/env bash
# The whole test suite in tiers: cheap checks first, then everything. Prints
# failures in full and one closing line.
#
# Packages that attach programs to the machine or make containers run one at a
# time: each of them sees every container there is.
set -uo pipefail
export CGO_ENABLED=0
status=0

step() { printf '\n== %s\n' "$*"; }

step "format and vet"
unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted (run gofmt -w): %s\n' "$unformatted"
	status=1
fi
go vet ./... || status=1

step "generated files are what their sources make"
scripts/check-generated.sh || status=1

step "tests${GABION_REQUIRE:+ (required here: $GABION_REQUIRE)}"
go build -o bin/summary ./test/summary || exit 1
machine='/(guard/kernel|guard/firewall|guard/container|guard/agent|internal/cgroup|internal/minicontainer|scenario|test/e2e|test/attacks|test/workloads|test/vm)(/|$)'
{
	go test -json -timeout 20m "$@" $(go list ./... | grep -vE "$machine") 2>&1
	go test -json -timeout 20m -p 1 "$@" $(go list ./... | grep -E "$machine") 2>&1
} | bin/summary || status=1
exit $status
