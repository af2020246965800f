#!/usr/bin/env bash
# Mesa 26 in a private folder, for Debian 12.
#
# Debian 12 ships Mesa 22.3, whose software Vulkan driver (lavapipe) has no cooperative matrices. This script unpacks
# the driver of Debian 13 with its backports, and every library that it depends on, under ~/.cache/nc-core/mesa26.
# Nothing is installed: see debian13.sh. Because the tree has its own libc, a runner starts programs with the tree's
# own loader.
#
#   scripts/mesa26.sh                 make sure that it is there, and print the driver's version
#   scripts/mesa26.sh runner          the same, and print the path of the runner only
#   scripts/mesa26.sh run COMMAND     the same, and run COMMAND so that Cargo starts every program through the runner:
#                                     scripts/mesa26.sh run cargo test -p nc-core
#   scripts/mesa26.sh remove          delete it
#
# A program that starts another one must use the runner too; the runner puts its own path into NC_RUNNER,
# which the tests' `nc_core!` respects. Under the runner /proc/self/exe is the loader, not the program.
set -euo pipefail

tree="${NC_MESA26_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nc-core/mesa26}"
runner="$tree/run"

fail() {
    printf 'mesa26: %s\n' "$1" >&2
    exit 1
}

# shellcheck source=scripts/debian13.sh
. "$(dirname "$0")/debian13.sh"

install() {
    printf 'mesa26: downloading to %s\n' "$tree" >&2
    open_debian13 "$tree"
    unpack_debian13 mesa-vulkan-drivers libvulkan1
    driver_json "$(echo "$work"/tree/root/usr/share/vulkan/icd.d/lvp_icd*.json)" "$tree" >"$work/tree/lvp_icd.json"
    cat >"$work/tree/run" <<END
#!/bin/sh
# Starts a program with Mesa 26 and its libraries: run PROGRAM ARGUMENTS…
program=\$(command -v "\$1") || { echo "run: there is no program \$1" >&2; exit 127; }
shift
export VK_DRIVER_FILES='$tree/lvp_icd.json' VK_ICD_FILENAMES='$tree/lvp_icd.json' NC_RUNNER='$runner'
exec '$tree/root/$loader' --library-path '$tree/root/$libraries' "\$program" "\$@"
END
    chmod 755 "$work/tree/run"
    dpkg-deb --field "$work"/cache/archives/mesa-vulkan-drivers_*.deb Version >"$work/tree/version"
    rm -rf "$tree"
    mv "$work/tree" "$tree"
    du -sh "$tree" | sed 's/^/mesa26: unpacked /' >&2
}

# The variable in which Cargo looks for a runner: CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER on x86-64.
runner_variable() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    printf 'CARGO_TARGET_%s_RUNNER' "$(printf '%s' "$host" | tr 'a-z-' 'A-Z_')"
}

case "${1:-install}" in
install | runner | run)
    [ -x "$runner" ] || install
    ;;
remove)
    rm -rf "$tree"
    exit
    ;;
*)
    fail "there is no command '$1'; see the head of this script"
    ;;
esac

case "${1:-install}" in
install) printf 'Mesa %s in %s\n' "$(cat "$tree/version")" "$tree" ;;
runner) printf '%s\n' "$runner" ;;
run)
    shift
    [ $# -gt 0 ] || fail 'run needs a command, for example: scripts/mesa26.sh run cargo test'
    export "$(runner_variable)=$runner"
    exec "$@"
    ;;
esac
