#!/usr/bin/env bash
# Mesa 26 in a private folder, for Debian 12.
#
# Debian 12 ships Mesa 22.3, whose software Vulkan driver (lavapipe) has no cooperative matrices. This script unpacks
# the driver of Debian 13 with its backports, and every library that it stands on, below ~/.cache/nc-core/mesa26.
# Nothing is installed: the system's packages, apt lists and configuration are neither changed nor used beyond the
# address of the mirror and Debian's keys. Because the tree brings its own libc, programs reach it through a runner
# that starts them with the tree's own loader.
#
#   scripts/mesa26.sh                 make sure that it is there, and print the driver's version
#   scripts/mesa26.sh runner          the same, and print the path of the runner only
#   scripts/mesa26.sh run COMMAND     the same, and run COMMAND so that Cargo starts every program through the runner:
#                                     scripts/mesa26.sh run cargo test -p nc-core
#   scripts/mesa26.sh remove          delete it
#
# A program that starts another one must start it through the runner too; the runner leaves its own path in NC_RUNNER,
# which the tests' `nc_core!` honours. Under the runner /proc/self/exe is the loader, not the program.
set -euo pipefail

tree="${NC_MESA26_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nc-core/mesa26}"
runner="$tree/run"

fail() {
    printf 'mesa26: %s\n' "$1" >&2
    exit 1
}

# apt with lists, cache and state of its own. The empty status file makes every dependency count as missing, so that
# the whole set down to libc is downloaded.
private_apt() {
    apt-get -qq -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State="$work/state" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o Dpkg::Use-Pty=0 -o Acquire::Languages=none "$@"
}

install() {
    local tool
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || fail "this needs $tool, that is Debian or a relative of it"
    done
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror arch work loader library
    [ -r "$keys" ] || fail "$keys is missing; install debian-archive-keyring"
    arch=$(dpkg --print-architecture)
    # shellcheck disable=SC2016 # apt, not the shell, fills REPO_URI in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -E '/debian/?$' | head -n 1) || true
    [ -n "$mirror" ] || fail 'apt names no mirror that ends in /debian; set one up in /etc/apt'

    mkdir -p "$(dirname "$tree")"
    work=$(mktemp -d "$tree.XXXXXX")
    # Expanded now: `work` is gone when the trap runs.
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/tree/root"
    : >"$work/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$mirror" trixie "$keys" "$mirror" trixie-backports >"$work/sources.list"

    printf 'mesa26: downloading to %s\n' "$tree" >&2
    private_apt update >&2
    private_apt -t trixie-backports --yes --download-only install mesa-vulkan-drivers libvulkan1 >&2
    for package in "$work"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/tree/root"
    done

    loader=$(cd "$work/tree/root" && find . -name 'ld-linux*.so.*' -type f | head -n 1)
    library=$(cd "$work/tree/root" && find . -name libvulkan_lvp.so -type f | head -n 1)
    if [ -z "$loader" ] || [ -z "$library" ]; then fail 'the downloaded packages hold no loader or no lavapipe; Debian has changed their names'; fi
    loader=${loader#./} library=${library#./}
    # The driver's own JSON names the library without a folder; here it must be found without the system's help.
    sed -E "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$tree/root/$library\"|" "$work"/tree/root/usr/share/vulkan/icd.d/lvp_icd*.json >"$work/tree/lvp_icd.json"
    cat >"$work/tree/run" <<END
#!/bin/sh
# Starts a program with Mesa 26 and the libraries beside it: run PROGRAM ARGUMENTS…
program=\$(command -v "\$1") || { echo "run: there is no program \$1" >&2; exit 127; }
shift
export VK_DRIVER_FILES='$tree/lvp_icd.json' VK_ICD_FILENAMES='$tree/lvp_icd.json' NC_RUNNER='$runner'
exec '$tree/root/$loader' --library-path '$tree/root/$(dirname "$library")' "\$program" "\$@"
END
    chmod 755 "$work/tree/run"
    dpkg-deb --field "$work"/cache/archives/mesa-vulkan-drivers_*.deb Version >"$work/tree/version"
    rm -rf "$work"/tree/root/usr/share/{doc,locale,man,lintian,bug}
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
