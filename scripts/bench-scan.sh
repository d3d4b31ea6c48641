#!/usr/bin/env bash
# Measures scanning beside other scanners; see docs/reference/figures-scan.md.
# What is slow to make is kept in GABION_BENCH_DIR. GABION_BENCH_RIVALS names a
# folder with the other scanners ready made, or is "none"; GABION_VULN_DATA one
# with advisory data, else no database is built.
set -euo pipefail
dir=${GABION_BENCH_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/gabion/bench-scan}
mkdir -p "$dir/helpers"
export CGO_ENABLED=0
test/benchscan/image.sh "$dir/image"
rivals=${GABION_BENCH_RIVALS:-$dir/rivals}
if [ "$rivals" = none ]; then
	rivals=
elif [ -z "${GABION_BENCH_RIVALS:-}" ]; then
	test/benchscan/rivals.sh "$rivals"
fi
go build -trimpath -ldflags '-s -w' -o "$dir/helpers/" ./test/benchscan/meter ./test/benchscan/floor
go run ./test/benchscan -images "$dir/image" -gabion bin/gabion -rivals "$rivals" -helpers "$dir/helpers" \
	-data "${GABION_VULN_DATA:-}" -out "${1:-bench/results}/scan.json" -doc docs/reference/figures-scan.md
