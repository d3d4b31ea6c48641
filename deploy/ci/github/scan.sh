#!/usr/bin/env bash
# Runs "gabion scan" in a GitHub workflow: annotations on the log, the summary
# of the job, a SARIF file. What to do comes in the environment (see
# action.yml). Ends with gabion's own exit code: 0 nothing fails, 1 could not
# run, 2 the policy is violated, 3 something could not be examined.
set -euo pipefail

if [[ -z ${GABION_TARGET:-} ]]; then
  echo "::error title=gabion::no target: set the input \"target\""
  exit 1
fi
if ! command -v gabion >/dev/null; then
  echo "::error title=gabion::gabion is not on the PATH: install it in a step before this one"
  exit 1
fi

sarif=${GABION_SARIF:-gabion.sarif}
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
args=(scan -o github -o "sarif=$sarif" -o "markdown=$summary")
[[ -z ${GABION_SBOM:-} ]] || args+=(-o "cyclonedx=$GABION_SBOM")
[[ -z ${GABION_FAIL_ON:-} ]] || args+=(--fail-on "$GABION_FAIL_ON")
[[ -z ${GABION_IGNORE_FILE:-} ]] || args+=(--ignore-file "$GABION_IGNORE_FILE")
[[ ${GABION_ALLOW_INCOMPLETE:-} != true ]] || args+=(--allow-incomplete)

# An old report must not pass for a new one.
rm -f "$sarif"
code=0
gabion "${args[@]}" -- "$GABION_TARGET" || code=$?

case $code in
  0) result=passed ;;
  2) result=failed ;;
  3) result=incomplete ;;
  *) result=error ;;
esac
if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
  cat "$summary" >>"$GITHUB_STEP_SUMMARY"
fi
if [[ -n ${GITHUB_OUTPUT:-} ]]; then
  {
    echo "result=$result"
    # A file name with a line break could set other outputs.
    if [[ -f $sarif && $sarif != *$'\n'* ]]; then echo "sarif=$sarif"; fi
  } >>"$GITHUB_OUTPUT"
fi
exit "$code"
