#!/usr/bin/env bash
# Builds, starts, packages and tests the desktop app. The pages are built first: they are embedded in the executable.
#
#   scripts/app.sh build       the executable, and everything it needs
#   scripts/app.sh run         build it and start it
#   scripts/app.sh bundle      packages for this system: .deb and .rpm, .dmg, or .msi
#   scripts/app.sh pages       the pages alone, without which the other half does not compile
#   scripts/app.sh test-pages  check and test the pages, also in a browser
#   scripts/app.sh test        check and test both halves
set -euo pipefail
cd "$(dirname "$0")/.."

# Only packages the app; it is not part of it.
bundler='@tauri-apps/cli@2.12.5'

pages() {
    # Reinstalled only if the lock file has changed since.
    if [ ! -e ui/node_modules/.package-lock.json ] || [ ui/package-lock.json -nt ui/node_modules/.package-lock.json ]; then
        npm --prefix ui ci --no-audit --no-fund
    fi
    npm --prefix ui run --silent build
}

test_pages() {
    npm --prefix ui run --silent check
    npm --prefix ui test
    npm --prefix ui run --silent e2e
}

built() {
    cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

build() {
    scripts/setup.sh --app
    pages
    cargo build --release -p nanochat --features product
    printf '\nThe app is %s/release/nanochat\n' "$(built)"
}

case "${1:-}" in
build) build ;;
pages) pages ;;
test-pages)
    pages
    test_pages
    ;;
run)
    build
    exec "$(built)/release/nanochat"
    ;;
bundle)
    build
    case "$(uname -s)" in
    Linux) kinds=deb,rpm ;;
    Darwin) kinds=dmg ;;
    *) kinds=msi ;;
    esac
    npm exec --yes --package="$bundler" -- tauri bundle --bundles "$kinds" --features product
    ;;
test)
    scripts/setup.sh --app-test --lint
    pages
    test_pages
    cargo clippy -p nanochat --all-targets -- -D warnings
    # The app has hardly any public items.
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps -p nanochat --document-private-items
    cargo test -p nanochat
    ;;
*)
    printf 'app: say build, run, bundle, pages, test-pages or test\n' >&2
    exit 2
    ;;
esac
