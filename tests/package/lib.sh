# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the trials of the packages share. Sourced; expects `set -eu`.

version_of_project() { sed -n "s/^ *version: '\(.*\)',$/\1/p" meson.build; }

passed=0 failed=0

# Carries out a function or command, and prints what became of it: try NAME COMMAND... Not to be
# called where `set -e` means nothing, in an `if` for one.
try() {
    SECONDS=0
    local name=$1 status=0 log
    shift
    log=$(mktemp)
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        echo "ok $name ($SECONDS s)"
        passed=$((passed + 1))
    else
        echo "FAIL $name: $(tail -n 1 "$log")"
        sed 's/^/    | /' "$log"
        failed=$((failed + 1))
    fi
    rm -f "$log"
}

# What a step found to be otherwise than it should be.
wrong() {
    echo "$*"
    return 1
}

tally() {
    echo "$passed passed, $failed failed, 0 skipped"
    [ "$failed" -eq 0 ]
}
