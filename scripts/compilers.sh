#!/usr/bin/env bash
# Runs the compilers of real GPU drivers on the shaders, on a machine without such a GPU.
#
# Mesa's drivers are unpacked under ~/.cache/nc-core with no-op kernel shims, which simulate any GPU: they compile,
# and nothing runs. Microsoft's DXC comes from a package that contains it. Nothing is installed but what setup.sh installs.
# The folder is named after its contents and gets its name when it is complete, so an interrupted download leaves nothing
# behind.
#
#   scripts/compilers.sh                make sure that they are there, and print their folder
#   scripts/compilers.sh run [ARG…]     the same, and compile every shader variant: ARGs as in `run --help`
#   scripts/compilers.sh remove         delete them
set -euo pipefail

cd "$(dirname "$0")/.."

# Statistics are only compared within one version of Mesa, so it is pinned; if Debian no longer serves it, the current one is used.
mesa=26.1.6-1~bpo13+1
# The no-op kernel for Intel is built from the source that Debian 13 has.
mesa_source=25.0.7
dxc_package=compushady==0.17.4
dxc_file=compushady/backends/libdxcompiler_x86_64.so.3.7
dxc_sha256=fb549976da7abff1ee56bdfa4f5ab156b95e971d4270b5b4447b61682d105809
fxc_package=cefpython3==66.1
fxc_file=cefpython3/d3dcompiler_47.dll
fxc_sha256=8bdcccc5dd81330d5b5eb22e3dd87f1260d6f9a1b87cd26c1fe469cdd070a5f7

fail() {
    printf 'compilers: %s\n' "$1" >&2
    exit 1
}

# shellcheck source=scripts/debian13.sh
. scripts/debian13.sh

layout=1
pins="$layout $mesa $mesa_source $dxc_sha256"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/nc-core"
place="$cache/compilers-$(printf '%s' "$pins" | sha256sum | cut -c 1-12)"

say() {
    printf 'compilers: %s\n' "$1" >&2
}

# Checks that the file $1 has the digest $2.
check() {
    printf '%s  %s\n' "$2" "$1" | sha256sum --check --quiet - >&2 || fail "$1 is not the file that this script knows"
}

# The no-op kernel for Intel GPUs, into the folder of libraries.
build_intel_kernel() {
    local source="$work/source" wanted
    wanted=$(private_apt --print-uris --only-source source mesa 2>/dev/null | sed -n "s/^.* \(mesa_$mesa_source[^ ]*\.dsc\) .*/\1/p" | head -n 1)
    [ -n "$wanted" ] || fail "Debian 13 no longer serves the source of Mesa $mesa_source"
    mkdir -p "$work/download" "$source"
    (cd "$work/download" && private_apt --download-only --only-source source mesa >&2)
    tar -xf "$work"/download/mesa_"$mesa_source".orig.tar.[gx]z -C "$source" --strip-components 1
    local off
    off=$(printf -- '-D%s=disabled ' gles1 gles2 egl gbm glx llvm xmlconfig zlib zstd libunwind valgrind shader-cache)
    # shellcheck disable=SC2086 # the options are words
    PATH="$work/python/bin:$PATH" meson setup "$source/build" "$source" --buildtype release -Dplatforms= -Dgallium-drivers= \
        -Dvulkan-drivers= -Dvideo-codecs= -Dopengl=false -Dtools=drm-shim,intel -Dexpat=enabled $off >"$work/meson.log" 2>&1 ||
        { tail -n 20 "$work/meson.log" >&2; fail 'the no-op kernel for Intel cannot be configured'; }
    PATH="$work/python/bin:$PATH" nice ninja -C "$source/build" src/intel/tools/libintel_noop_drm_shim.so >"$work/ninja.log" 2>&1 ||
        { tail -n 20 "$work/ninja.log" >&2; fail 'the no-op kernel for Intel cannot be built'; }
    cp "$source/build/src/intel/tools/libintel_noop_drm_shim.so" "$work/tree/root/$libraries/"
}

install() {
    local icd have packages
    [ "$(uname -m)" = x86_64 ] || fail 'these compilers are packaged for x86-64 only'
    say "putting the compilers into $place (some minutes, once)"
    scripts/setup.sh --compilers
    open_debian13 "$place"
    packages=("mesa-vulkan-drivers=$mesa" "mesa-drm-shim=$mesa")
    if ! private_apt -t trixie-backports --simulate install "${packages[@]}" >/dev/null 2>&1; then
        say "Debian no longer serves Mesa $mesa; taking the one that it serves"
        packages=(mesa-vulkan-drivers mesa-drm-shim)
    fi
    unpack_debian13 "${packages[@]}" libvulkan1
    have=$(dpkg-deb --field "$work"/cache/archives/mesa-vulkan-drivers_*.deb Version)

    python3 -m venv "$work/python"
    "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/compilers/requirements.txt >&2
    say 'building the no-op kernel for Intel GPUs'
    build_intel_kernel
    mkdir "$work/tree/icd" "$work/pypi"
    for icd in radeon nouveau intel asahi freedreno; do
        driver_json "$work/tree/root/usr/share/vulkan/icd.d/${icd}_icd.json" "$place" >"$work/tree/icd/${icd}_icd.json"
    done

    "$work/python/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary compushady --dest "$work/pypi" "$dxc_package" >&2
    tar -xf "$work"/pypi/compushady-*.tar.gz -C "$work/pypi" --strip-components 1 --wildcards "*/$dxc_file"
    check "$work/pypi/$dxc_file" "$dxc_sha256"
    mv "$work/pypi/$dxc_file" "$work/tree/libdxcompiler.so"

    cat >"$work/tree/run" <<END
#!/bin/sh
# Starts a program with the given no-op kernel and driver: run KERNEL.so DRIVER.json PROGRAM ARGUMENTS…
export VK_DRIVER_FILES="$place/icd/\$2" VK_LOADER_LAYERS_DISABLE='*' MESA_SHADER_CACHE_DISABLE=true
kernel='$place/root/$libraries'/\$1
program=\$(command -v "\$3") || { echo "run: there is no program \$3" >&2; exit 127; }
shift 3
exec '$place/root/$loader' --library-path '$place/root/$libraries' --preload "\$kernel" "\$program" "\$@"
END
    chmod 755 "$work/tree/run"
    printf 'Mesa %s, DXC 1.7 (%s)\n' "$have" "${dxc_package/==/ }" >"$work/tree/version"
    # Another process may have put the same in place meanwhile.
    [ -e "$place" ] || mv "$work/tree" "$place"
    du -sh "$place" | sed 's/^/compilers: unpacked /' >&2
}

# FXC, and the small program that calls it under Wine.
install_fxc() {
    local made
    scripts/setup.sh --compilers --fxc
    say "putting FXC into $place/fxc"
    made=$(mktemp -d "$place/fxc.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$made'" EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --platform win_amd64 --python-version 3.7 \
        --dest "$made" "$fxc_package" >&2
    python3 -m zipfile -e "$made"/*.whl "$made/wheel"
    check "$made/wheel/$fxc_file" "$fxc_sha256"
    mv "$made/wheel/$fxc_file" "$made/"
    rm -rf "$made/wheel" "$made"/*.whl
    x86_64-w64-mingw32-gcc -O1 -Wall -Werror -o "$made/fxc.exe" tests/compilers/fxc.c
    mv "$made" "$place/fxc"
}

case "${1:-install}" in
install | run) [ -e "$place" ] || install ;;
remove)
    rm -rf "$cache"/compilers-*
    exit
    ;;
*) fail "there is no command '$1'; see the head of this script" ;;
esac

case "${1:-install}" in
install) printf '%s\n' "$place" ;;
run)
    shift
    case " $*" in *fxc*) [ -e "$place/fxc" ] || install_fxc ;; esac
    # With the same packages as the tests, so that their build is reused.
    cargo test --quiet --test compilers -- --place "$place" "$@"
    ;;
esac
