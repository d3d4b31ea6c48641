#!/usr/bin/env bash
# Installs what `make run` or `make test` needs on Debian or Ubuntu, and says
# what it does. Without root, or elsewhere, it says what is missing and goes on:
# what can be done without is done.
set -euo pipefail
what=${1:-run}

say() { printf 'setup: %s\n' "$*"; }

if ! command -v go >/dev/null; then
	say "Go is not installed; install Go 1.26 or newer and run this again" >&2
	exit 1
fi

# command or file -> Debian package
needs=()
need() { # need PACKAGE TEST...
	local pkg=$1
	shift
	"$@" >/dev/null 2>&1 || needs+=("$pkg")
}
have() { command -v "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
if [ "$what" = test ]; then
	need clang-14 have clang-14
	need llvm-14 have llvm-strip-14
	need libbpf-dev test -e /usr/include/bpf/bpf_helpers.h
	need containerd have containerd
	need runc have runc
	need docker.io have dockerd
	need iproute2 have ip
	need nftables have nft
	need busybox-static have busybox
	need docker-registry have docker-registry
	need rpm have rpm
	need skopeo have skopeo
	need chromium test -x /usr/bin/chromium
	need qemu-system-x86 have qemu-system-x86_64
	need xz-utils have xz
	need cpio have cpio
	need curl have curl
	need sqlite3 have sqlite3
	need tini have tini
fi

if [ ${#needs[@]} -eq 0 ]; then
	say "nothing to install"
elif [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	say "missing: ${needs[*]} (Debian names); install them as root to get everything, what can be done without is done"
else
	say "installing: ${needs[*]}"
	log=$(mktemp)
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${needs[@]}"; } >"$log" 2>&1; then
		say "installation failed; the last lines were:" >&2
		tail -n 15 "$log" >&2
		exit 1
	fi
	rm -f "$log"
fi

if [ "$what" = test ] && [ -f ui/package-lock.json ] && command -v npm >/dev/null; then
	if [ ! -d ui/node_modules ] || [ ui/package-lock.json -nt ui/node_modules/.package-lock.json ]; then
		say "installing the web UI's packages (npm ci)"
		(cd ui && npm ci --no-audit --no-fund --loglevel=error)
	fi
fi
if [ "$(id -u)" != 0 ]; then
	say "not root: kernel programs cannot be loaded; run with sudo to enforce"
fi
