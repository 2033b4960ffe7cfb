#!/usr/bin/env bash
# Installs bidsplan as this action has it, unless the workflow names a command to use.
#
# Python runs isolated (-I): the working directory is the checkout, whose code may be a stranger's.
set -euo pipefail

fail() {
    printf '::error title=bidsplan::%s\n' "$1"
    exit 1
}

[[ ${RUNNER_OS:-} != Windows ]] || fail "bidsplan runs on Linux and macOS only"
if [[ -n $INPUT_BIDSPLAN ]]; then
    command=$(command -v -- "$INPUT_BIDSPLAN") || fail "the input 'bidsplan' names no command"
else
    python3 -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "bidsplan needs Python 3.11 or newer as python3; use actions/setup-python before it"
    # Other steps of the job may use another version of the action.
    environment=$RUNNER_TEMP/bidsplan${GITHUB_ACTION_PATH//[^[:alnum:]]/-}
    command=$environment/bin/bidsplan
    if [[ ! -x $command ]]; then
        python3 -I -m venv "$environment"
        "$environment/bin/pip" install --quiet --disable-pip-version-check "$GITHUB_ACTION_PATH"
    fi
fi
"$command" --version
printf 'command=%s\n' "$command" >>"$GITHUB_OUTPUT"
