#!/usr/bin/env bash
# Python with the packages of tests/python/requirements.txt, which the tests use to check exports.
#
# They are installed once under ~/.cache/nc-core, into a folder named after their versions and Python's, which all
# clones share. A folder gets its name when it is complete, so an interrupted download leaves nothing behind.
#
#   scripts/python.sh           make sure that it is there, and print the path of its Python
#   scripts/python.sh remove    delete it
set -euo pipefail

cd "$(dirname "$0")/.."
requirements=tests/python/requirements.txt

fail() {
    printf 'python: %s\n' "$1" >&2
    exit 1
}

python3 -c 'import ensurepip, venv' 2>/dev/null || fail 'Python 3 with venv is missing: run scripts/setup.sh --test'
version=$(python3 -c '
import hashlib, sys
digest = hashlib.sha256(repr((sys.version_info[:3], sys.executable)).encode())
digest.update(open(sys.argv[1], "rb").read())
print(digest.hexdigest()[:16])' "$requirements")
cache="${XDG_CACHE_HOME:-$HOME/.cache}/nc-core"
place="$cache/python-$version"
if [ "${1:-}" = remove ]; then
    rm -rf "$place"
    exit
fi

if [ ! -e "$place" ]; then
    printf 'python: putting the packages of %s into %s (some minutes, once)\n' "$requirements" "$place" >&2
    mkdir -p "$cache"
    work=$(mktemp -d "$place.XXXXXX")
    # Expanded now: `work` is gone when the trap runs.
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    python3 -m venv "$work"
    "$work/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2 || fail 'the packages could not be installed; see above'
    # Another process may have put the same in place meanwhile.
    [ -e "$place" ] || mv "$work" "$place"
fi
printf '%s\n' "$place/bin/python"
