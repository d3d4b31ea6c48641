#!/usr/bin/env bash
# Scans the working tree before a commit: secrets, and vulnerabilities of what
# lock files name. Further arguments go to "gabion scan"; those before them win.
# Exit code 3 (something could not be examined) stops the commit too: set
# GABION_ALLOW_INCOMPLETE=true where that is too strict.
set -euo pipefail

if ! command -v gabion >/dev/null; then
  echo "gabion is not on the PATH: install it, or skip this hook with SKIP=gabion-scan" >&2
  exit 1
fi
args=(scan --fail-on "${GABION_FAIL_ON:-critical,kev,secrets}")
[[ ${GABION_ALLOW_INCOMPLETE:-} != true ]] || args+=(--allow-incomplete)
code=0
gabion "${args[@]}" "$@" -- "dir:$(git rev-parse --show-toplevel 2>/dev/null || pwd)" || code=$?
case $code in
  0) ;;
  2) echo "gabion: fix what is listed, or settle it in .gabionignore.yaml with owner, reason and date" >&2 ;;
  3) echo "gabion: INCOMPLETE, see above; GABION_ALLOW_INCOMPLETE=true lets it pass" >&2 ;;
  *) echo "gabion: the scan could not run" >&2 ;;
esac
exit "$code"
