#!/usr/bin/env bash
# Builds the scanners that `make bench-scan` measures beside Gabion, from their
# Go modules, into FOLDER: trivy, syft, osv-scanner. Takes half an hour on two
# processors. What is there already is kept. grype is not built: it measures
# nothing without its database, and its inventory is syft's.
set -euo pipefail
out=${1:?usage: rivals.sh FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false

# rival NAME MODULE VERSION PACKAGE [ENVIRONMENT...]
rival() {
	local name=$1 module=$2 version=$3 package=$4
	shift 4
	[ ! -x "$out/$name" ] || return 0
	printf 'rivals: %s %s\n' "$name" "$version" >&2
	local work
	work=$(mktemp -d)
	# Two versions that these modules ask for are not served everywhere.
	cat >"$work/go.mod" <<-M
		module rival
		go 1.26
		require $module $version
		replace github.com/docker/cli v29.9.2+incompatible => github.com/docker/cli v29.9.3+incompatible
		replace github.com/github/go-spdx/v2 v2.8.0 => github.com/github/go-spdx/v2 v2.7.0
	M
	printf '//go:build tools\n\npackage rival\n\nimport _ "%s"\n' "$package" >"$work/tools.go"
	if ! (cd "$work" && env "$@" go get "$package@$version" && env "$@" go mod tidy &&
		env "$@" go build -p 2 -trimpath -ldflags '-s -w' -o "$out/$name" "$package") >"$work/log" 2>&1; then
		tail -n 20 "$work/log" >&2
		printf 'rivals: %s does not build here and is left out; see %s\n' "$name" "$work/log" >&2
		return 0
	fi
	rm -rf "$work"
}

rival trivy github.com/aquasecurity/trivy v0.72.0 github.com/aquasecurity/trivy/cmd/trivy GOEXPERIMENT=jsonv2
rival syft github.com/anchore/syft v1.57.0 github.com/anchore/syft/cmd/syft
rival osv-scanner github.com/google/osv-scanner/v2 v2.3.5 github.com/google/osv-scanner/v2/cmd/osv-scanner
