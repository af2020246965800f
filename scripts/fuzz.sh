#!/usr/bin/env bash
# Fuzzes every reader of untrusted files, and reports the executions and the coverage of each.
#
#   scripts/fuzz.sh                       every target, 60 seconds each
#   scripts/fuzz.sh --seconds 600 parquet torch_pt
#
# Needs a nightly toolchain; cargo-fuzz is installed if it is missing. The corpus grows in fuzz/corpus/TARGET and starts from
# fuzz/seeds/TARGET and fuzz/reached/TARGET.tar.gz, which are part of the repository. A crash ends the run and is kept in
# fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
targets=()
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds)
        seconds=${2:?fuzz: --seconds wants a number}
        shift
        ;;
    -*)
        printf 'fuzz: there is no option %s; there is --seconds N, and names of targets\n' "$1" >&2
        exit 2
        ;;
    *) targets+=("$1") ;;
    esac
    shift
done
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'fuzz: a nightly toolchain is missing: run "rustup toolchain install nightly --profile minimal", then this again' >&2
    exit 1
fi
if ! command -v cargo-fuzz >/dev/null; then
    cargo install cargo-fuzz --locked
fi

log=$(mktemp)

# Targets write their input files into a folder named after their process; other fuzzers may be running.
clear_up() {
    local folder
    rm -f "$log"
    for folder in /dev/shm/nc-fuzz-*; do
        if [ ! -e "/proc/${folder##*-}" ]; then rm -rf "$folder"; fi
    done
}
trap clear_up EXIT
total=0
for target in "${targets[@]}"; do
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=200 -print_final_stats=1)
    if [ -e "fuzz/$target.dict" ]; then options+=(-dict="fuzz/$target.dict"); fi
    case "$target" in
    calculator) options+=(-max_len=5000) ;;
    parquet) options+=(-max_len=8192) ;;
    torch_pt) options+=(-max_len=32768) ;;
    *) options+=(-max_len=16384) ;;
    esac
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    # Files are named by their contents, so unpacking overwrites nothing of this corpus.
    if [ -e "fuzz/reached/$target.tar.gz" ]; then tar -xzf "fuzz/reached/$target.tar.gz" -C fuzz/corpus; fi
    if ! cargo +nightly fuzz run --features run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- "${options[@]}" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        printf 'fuzz: %s failed; the input is in fuzz/artifacts/%s/\n' "$target" "$target" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    total=$((total + runs))
    reached=$(sed -n 's/^#.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 edges, \2 features/p' "$log" | tail -n 1)
    printf '%-16s %12d executions, no crash (%s)\n' "$target" "$runs" "${reached:-nothing reached}"
done
printf '%-16s %12d executions\n' 'in all' "$total"
