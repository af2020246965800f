#!/usr/bin/env bash
# Prepares this machine to build and run nc-core: a Rust toolchain, a C toolchain, and on Linux a Vulkan driver.
#
# It checks first and installs only what is missing, so that an existing GPU driver is left alone and a
# second run finishes at once. It installs with apt, as root or with sudo; elsewhere it says what to install. It never
# installs Rust, but says how to.
#
#   scripts/setup.sh             what building and running need
#   scripts/setup.sh --lint      also rustfmt and clippy
#   scripts/setup.sh --test      also Python 3, which the tests use to check the calculator and exports
#   scripts/setup.sh --bench     also what the peers of the benchmark need, and llama.cpp into bench/llama, if Node is there
#   scripts/setup.sh --compilers also what is needed to build a part of the compilers of real GPU drivers
#   scripts/setup.sh --fxc       also Wine and a compiler for Windows, to run FXC
#   scripts/setup.sh --app       also the web view and Node, to build the desktop app
#   scripts/setup.sh --app-test  also chromium, a virtual display, a reader of its accessibility tree, and strace, to test the app
set -euo pipefail

cd "$(dirname "$0")/.."
system=$(uname -s)
want_lint=false want_test=false want_bench=false want_compilers=false want_fxc=false want_app=false want_app_test=false
for argument in "$@"; do
    case "$argument" in
    --lint) want_lint=true ;;
    --test) want_test=true ;;
    --bench) want_bench=true ;;
    --compilers) want_compilers=true ;;
    --fxc) want_fxc=true ;;
    --app) want_app=true ;;
    --app-test) want_app=true want_app_test=true ;;
    *)
        printf 'setup: there is no option %s; there are --lint, --test, --bench, --compilers, --fxc, --app and --app-test\n' "$argument" >&2
        exit 2
        ;;
    esac
done

say() {
    printf 'setup: %s\n' "$1" >&2
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Rust ------------------------------------------------------------------------------------------------------------

wanted_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml
}

# Is version $1 at least $2? Both are MAJOR.MINOR, perhaps followed by more.
at_least() {
    local have_major have_minor want_major want_minor
    IFS=. read -r have_major have_minor _ <<<"$1"
    IFS=. read -r want_major want_minor _ <<<"$2"
    [ "$have_major" -gt "$want_major" ] || { [ "$have_major" -eq "$want_major" ] && [ "${have_minor%%[!0-9]*}" -ge "$want_minor" ]; }
}

check_rust() {
    local wanted have
    wanted=$(wanted_rust)
    if ! has cargo; then
        say "Rust is missing: install Rust $wanted or later as https://rustup.rs says, then run this again"
        exit 1
    fi
    have=$(rustc --version | cut -d ' ' -f 2)
    if ! at_least "$have" "$wanted"; then
        say "Rust $have is too old: nc-core needs $wanted or later; run 'rustup update stable' (https://rustup.rs), then run this again"
        exit 1
    fi
}

check_lint_tools() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    if ! has rustup; then
        say 'rustfmt or clippy is missing: install both for this toolchain, then run this again'
        exit 1
    fi
    say 'running: rustup component add rustfmt clippy'
    rustup component add rustfmt clippy
}

# Node ------------------------------------------------------------------------------------------------------------

wanted_node=20.19

# Distributions are often years behind, so this never installs Node, but says how to.
check_node() {
    local have
    if ! has node || ! has npm; then
        say "Node is missing: install Node $wanted_node or later with npm as https://nodejs.org says, then run this again"
        exit 1
    fi
    have=$(node --version)
    if ! at_least "${have#v}" "$wanted_node"; then
        say "Node ${have#v} is too old: the app's pages need $wanted_node or later; see https://nodejs.org, then run this again"
        exit 1
    fi
}

# llama.cpp for the benchmark -------------------------------------------------------------------------------------

# The benchmark does without it, so nothing here is an error. No package's script runs: the programs inside are prebuilt.
install_llama() {
    local lock=bench/llama/package-lock.json installed=bench/llama/node_modules/installed.json
    if ! has apt-get || [ "$(uname -m)" != x86_64 ]; then
        say 'the benchmark leaves llama.cpp out here: its prebuilt programs are used on Debian and Ubuntu, x86-64, only'
    elif ! has npm || ! has node || ! at_least "$(node --version | tr -d v)" "$wanted_node"; then
        say "the benchmark leaves llama.cpp out: it needs Node $wanted_node or later with npm, see https://nodejs.org"
    elif ! cmp -s "$lock" "$installed"; then
        say 'installing llama.cpp into bench/llama/node_modules (170 MB, once)'
        if npm ci --prefix bench/llama --ignore-scripts --omit=optional --no-audit --no-fund --silent; then
            cp "$lock" "$installed"
        else
            say 'llama.cpp could not be installed; the benchmark leaves it out'
        fi
    fi
}

# What is missing -------------------------------------------------------------------------------------------------

# A compiler without the C library's headers is as good as none.
has_c() {
    has cc && printf '#include <stdio.h>\n' | cc -E - >/dev/null 2>&1
}

has_vulkan_loader() {
    local folder
    if { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep 'libvulkan\.so\.1' >/dev/null; then return 0; fi
    # Systems without ldconfig's cache, such as NixOS, name their folders here.
    IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
    for folder in "${folders[@]+"${folders[@]}"}" /run/opengl-driver/lib; do
        if [ -e "$folder/libvulkan.so.1" ]; then return 0; fi
    done
    return 1
}

# An installable client driver (ICD): the JSON file through which the loader finds a driver.
has_vulkan_driver() {
    local folder file
    if [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then return 0; fi
    for folder in /etc/vulkan /usr/share/vulkan /usr/local/share/vulkan /run/opengl-driver/share/vulkan \
        "${XDG_CONFIG_HOME:-$HOME/.config}/vulkan" "${XDG_DATA_HOME:-$HOME/.local/share}/vulkan"; do
        for file in "$folder"/icd.d/*.json; do
            if [ -e "$file" ]; then return 0; fi
        done
    done
    return 1
}

# torch.compile generates C++ that includes Python's headers.
has_python_headers() {
    local folder
    folder=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["include"])' 2>/dev/null) && [ -e "$folder/Python.h" ]
}

has_web_view() {
    has pkg-config && pkg-config --exists webkit2gtk-4.1
}

# A browser to test the pages; `ui/e2e/app.ts` looks in the same places.
has_browser() {
    [ -x "${CHROMIUM:-}" ] || [ -x /usr/bin/chromium ] || [ -x /usr/bin/chromium-browser ] || [ -x /usr/bin/google-chrome ]
}

# Uses the system's own Python: others do not have these bindings.
has_screen_reading() {
    [ -e /usr/share/dbus-1/services/org.a11y.Bus.service ] &&
        /usr/bin/python3 -c 'import gi; gi.require_version("Atspi", "2.0"); from gi.repository import Atspi' 2>/dev/null
}

# Fills `missing` with readable names, and `packages` with Debian's package names. What no build can do without is
# `required`; a driver may be somewhere that this script does not look, so a missing one never stops the build.
find_missing() {
    missing=() packages=() required=false
    if ! has_c; then
        missing+=('a C compiler with its headers') packages+=(gcc libc6-dev) required=true
    fi
    # Cargo downloads with the system's certificates; a bare Debian has none.
    if has apt-get && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
        missing+=('root certificates') packages+=(ca-certificates)
    fi
    if [ "$system" = Linux ]; then
        if ! has_vulkan_loader; then missing+=('the Vulkan loader (libvulkan.so.1)') packages+=(libvulkan1); fi
        if ! has_vulkan_driver; then missing+=('a Vulkan driver') packages+=(mesa-vulkan-drivers); fi
        if $want_app && ! has_web_view; then
            missing+=('the web view WebKitGTK 4.1 with its headers') packages+=(libwebkit2gtk-4.1-dev pkg-config) required=true
        fi
        if $want_app_test; then
            if ! has Xvfb; then missing+=('the display Xvfb') packages+=(xvfb) required=true; fi
            if ! has dbus-daemon; then missing+=('a D-Bus session') packages+=(dbus-daemon) required=true; fi
            if ! has xdotool; then missing+=(xdotool) packages+=(xdotool) required=true; fi
            if ! has_screen_reading; then
                missing+=('what a screen reader reads with') packages+=(at-spi2-core gir1.2-atspi-2.0 python3-gi) required=true
            fi
            if ! has_browser; then missing+=('the browser chromium') packages+=(chromium) required=true; fi
            if ! has strace; then missing+=(strace) packages+=(strace) required=true; fi
            if ! has unshare; then missing+=(unshare) packages+=(util-linux) required=true; fi
        fi
    fi
    if $want_compilers; then
        if ! has c++; then missing+=('a C++ compiler') packages+=(g++) required=true; fi
        if ! has pkg-config; then missing+=(pkg-config) packages+=(pkg-config) required=true; fi
        if ! has bison || ! has flex; then missing+=('bison and flex') packages+=(bison flex) required=true; fi
        if ! pkg-config --exists expat libdrm 2>/dev/null; then missing+=('headers of expat and libdrm') packages+=(libexpat1-dev libdrm-dev) required=true; fi
    fi
    if $want_fxc; then
        if [ ! -x /usr/lib/wine/wine64 ] && ! has wine64 && ! has wine; then missing+=(Wine) packages+=(wine64) required=true; fi
        if ! has x86_64-w64-mingw32-gcc; then missing+=('a C compiler for Windows') packages+=(gcc-mingw-w64-x86-64) required=true; fi
    fi
    if $want_test || $want_bench || $want_compilers; then
        if ! has python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
            missing+=('Python 3 with venv') packages+=(python3 python3-venv) required=true
        fi
    fi
    if $want_bench; then
        if ! has_python_headers; then missing+=("Python's headers") packages+=(python3-dev); fi
        if ! has c++; then missing+=('a C++ compiler') packages+=(g++); fi
    fi
}

# Installing ------------------------------------------------------------------------------------------------------

# How to become root without a prompt that nobody can answer; fails if there is no way.
root_prefix() {
    if [ "$(id -u)" -eq 0 ]; then
        printf 'env'
    elif has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        printf 'sudo env'
    else
        return 1
    fi
}

# The command that installs what is missing on this system, for the user to read.
advice() {
    if has apt-get; then
        printf 'apt-get install %s' "${packages[*]}"
    elif has dnf; then
        printf 'dnf install gcc vulkan-loader mesa-vulkan-drivers'
        if $want_test; then printf ' python3'; fi
        if $want_bench; then printf ' gcc-c++ python3-devel'; fi
        if $want_app; then printf ' webkit2gtk4.1-devel'; fi
        if $want_app_test; then printf ' xorg-x11-server-Xvfb dbus-daemon strace xdotool at-spi2-core python3-gobject chromium'; fi
    elif has pacman; then
        printf 'pacman -S gcc vulkan-icd-loader vulkan-swrast'
        if $want_test || $want_bench; then printf ' python'; fi
        if $want_app; then printf ' webkit2gtk-4.1'; fi
        printf ' (or the driver of your GPU: vulkan-radeon, vulkan-intel, nvidia-utils)'
    elif has zypper; then
        printf 'zypper install gcc libvulkan1 libvulkan_lvp'
        if $want_test; then printf ' python3'; fi
        if $want_bench; then printf ' gcc-c++ python3-devel'; fi
        if $want_app; then printf ' webkit2gtk3-devel'; fi
    elif [ "$system" = Darwin ]; then
        printf 'xcode-select --install'
    else
        printf "install these with your system's package manager"
    fi
}

install_with_apt() {
    local prefix
    prefix=$(root_prefix) || return 1
    say "running: apt-get install ${packages[*]}"
    # shellcheck disable=SC2086 # the prefix is one or two words
    $prefix apt-get -qq update </dev/null &&
        $prefix DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${packages[@]}" </dev/null >/dev/null
}

check_rust
if $want_lint; then check_lint_tools; fi
if $want_app; then check_node; fi
if $want_bench; then install_llama; fi
find_missing
if [ ${#missing[@]} -eq 0 ]; then exit; fi

words=$(printf '%s, ' "${missing[@]}")
say "missing: ${words%, }"
if has apt-get && install_with_apt; then
    find_missing
    if [ ${#missing[@]} -eq 0 ]; then exit; fi
fi
say "this could not be installed from here; as an administrator: $(advice)"
if $required; then exit 1; fi
