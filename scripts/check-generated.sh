#!/usr/bin/env bash
# Generated files in git must be what their sources make. Kernel programs are
# built again only where the compiler is the one the objects were made with.
set -euo pipefail
before=$(mktemp)
after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT
sums() { git ls-files -z 'guard/*_bpfel.*' 'console/openapi.json' 'docs/reference' 'docs/man' | xargs -0 -r sha256sum; }
sums >"$before"
if ! command -v clang-14 >/dev/null || [ ! -e /usr/include/bpf/bpf_helpers.h ]; then
	case ",${GABION_REQUIRE:-}," in
	*,bpf,* | *,all,*) echo "clang-14 and libbpf-dev are required here to build the kernel programs again"; exit 1 ;;
	*) echo "skipped: clang-14 and libbpf-dev are not installed (apt-get install clang-14 libbpf-dev)"; exit 0 ;;
	esac
fi
go generate ./...
sums >"$after"
if [ -d ui/node_modules ] && command -v npm >/dev/null; then
	(cd ui && npm run --silent build >/dev/null && npm run --silent check)
	if ! git diff --exit-code --stat -- ui/dist; then
		echo "ui/dist is not what ui/src makes; run 'make ui' and commit the result"
		exit 1
	fi
else
	echo "skipped: the web UI is not built again (npm or ui/node_modules is missing)"
fi
if ! diff -u "$before" "$after"; then
	echo "generated files differ from what their sources make; run 'make generate' and commit the result"
	exit 1
fi
echo "$(wc -l <"$after") generated files are up to date"
