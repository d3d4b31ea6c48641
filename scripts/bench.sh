#!/usr/bin/env bash
# Measures everything that is promised and prints one table.
set -euo pipefail
CGO_ENABLED=0 go run ./test/bench -out "${1:-bench/results}" -gabion bin/gabion -doc docs/reference/figures.md
