#!/usr/bin/env bash
# Tests the kernel forms for other adapters than this one.
#
# A kernel has a form for CPU adapters, and for GPUs one that works for any subgroup size and one without subgroup operations.
# On a machine with one adapter, plain tests run only one of them. Here NC_CAPABILITIES makes the adapter look like others, and
# on lavapipe LP_NATIVE_VECTOR_WIDTH sets the subgroup size: 32 bits per lane.
#
#   scripts/test-forms.sh            all of it
#   scripts/test-forms.sh kernels    every kernel against its twin, in every form and with 4, 8 and 16 lanes per subgroup
#   scripts/test-forms.sh kernels norm     one kernel
#   scripts/test-forms.sh models     golden models, decoding, sampling, fine-tuning and exact resume in the forms for GPUs
set -euo pipefail
cd "$(dirname "$0")/.."

say() {
    printf '\nforms: %s\n' "$1" >&2
}

# With the packages and features that `make test` selects, cargo compiles nothing anew.
tested() {
    # shellcheck disable=SC2086 # the selection is several words
    cargo test --quiet ${NC_TEST_SELECTION:-} "$@"
}

kernels() {
    local lanes forms form
    for lanes in 8 4 16; do
        forms=(gpu gpu-varying gpu-no-subgroups)
        # Eight lanes are lavapipe's default, so plain tests cover its form for CPUs; without subgroups the size does not matter.
        if [ "$lanes" -ne 8 ]; then forms=(cpu gpu gpu-varying); fi
        for form in "${forms[@]}"; do
            say "kernels as on $form, subgroups of $lanes lanes on lavapipe"
            NC_CAPABILITIES=$form LP_NATIVE_VECTOR_WIDTH=$((32 * lanes)) tested --lib "kernels::$1"
        done
    done
}

models() {
    local form
    for form in gpu-varying gpu-no-subgroups; do
        export NC_CAPABILITIES=$form
        say "models as on $form"
        tested --test golden --test decode --test engine --test formats --test cache_formats
        tested --test sft -- a_repeated_conversation weights_and_moments a_run_killed_at_random_moments
        tested --test resume -- a_run_killed_at_random_moments a_damaged_checkpoint
        unset NC_CAPABILITIES
    done
}

case "${1:-all}" in
all)
    kernels ""
    models
    ;;
kernels) kernels "${2:-}" ;;
models) models ;;
*)
    printf 'forms: there is no part %s; there are kernels and models\n' "$1" >&2
    exit 2
    ;;
esac
