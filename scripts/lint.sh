#!/usr/bin/env bash
# gofmt, vet and staticcheck, the tools that come with Go or through its module
# proxy.
set -uo pipefail
status=0
out=$(git ls-files '*.go' | xargs gofmt -l)
[ -z "$out" ] || { printf 'not formatted: %s\n' "$out"; status=1; }
go vet ./... || status=1
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./... || status=1
exit $status
