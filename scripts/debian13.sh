# shellcheck shell=bash
# Sourced by mesa26.sh and compilers.sh: packages of Debian 13 with its backports, in a private folder.
#
# Nothing is installed: the system's packages, apt lists and configuration are not changed. Only the address of the mirror
# and Debian's keys are read.

# Makes a temporary folder beside $1, `work`, deleted when the script ends, with private apt lists in it.
open_debian13() {
    local tool keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || fail "this needs $tool, that is Debian or a relative of it"
    done
    [ -r "$keys" ] || fail "$keys is missing; install debian-archive-keyring"
    arch=$(dpkg --print-architecture)
    # shellcheck disable=SC2016 # apt, not the shell, fills REPO_URI in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -E '/debian/?$' | head -n 1) || true
    [ -n "$mirror" ] || fail 'apt names no mirror that ends in /debian; set one up in /etc/apt'

    mkdir -p "$(dirname "$1")"
    work=$(mktemp -d "$1.XXXXXX")
    # Expanded now: `work` is gone when the trap runs.
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/tree/root"
    : >"$work/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$mirror" trixie "$keys" "$mirror" trixie-backports >"$work/sources.list"
    printf 'deb-src [signed-by=%s] %s trixie main\n' "$keys" "$mirror" >>"$work/sources.list"
    private_apt update >&2
}

# apt with its own lists, cache and state. The empty status file makes every dependency count as missing, so that
# the whole set down to libc is downloaded.
private_apt() {
    apt-get -qq -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State="$work/state" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o Dpkg::Use-Pty=0 -o Acquire::Languages=none "$@"
}

# Unpacks these packages, and every library that they depend on, into $work/tree/root. Sets `loader` and `libraries`: the
# paths of the program loader and of the library folder in there.
unpack_debian13() {
    local package
    private_apt -t trixie-backports --yes --download-only install "$@" >&2
    for package in "$work"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/tree/root"
    done
    rm -rf "$work"/tree/root/usr/share/{doc,locale,man,lintian,bug}
    loader=$(cd "$work/tree/root" && find . -name 'ld-linux*.so.*' -type f | head -n 1)
    libraries=$(cd "$work/tree/root" && find . -name libvulkan_lvp.so -type f | head -n 1)
    if [ -z "$loader" ] || [ -z "$libraries" ]; then fail 'the downloaded packages hold no loader or no lavapipe; Debian has changed their names'; fi
    loader=${loader#./} libraries=$(dirname "${libraries#./}")
}

# The driver's JSON file $1, with the library's full path under $2, because the system's search path does not apply.
driver_json() {
    sed -E "s|\"library_path\": *\"([^\"/]*/)*([^\"]*)\"|\"library_path\": \"$2/root/$libraries/\2\"|" "$1"
}
