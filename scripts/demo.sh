#!/usr/bin/env bash
# From text to a model that answers, in a few minutes: trains a tokenizer and a small model on the sample corpus, prints
# text that the model writes, fine-tunes it on the included conversations, and asks it a few questions. Every command is
# printed before it runs, so that it can be repeated with other options.
#
# The runs are called `demo` and `demo-sft` and are kept with all others under NC_HOME; older runs of these names are replaced.
set -euo pipefail
cd "$(dirname "$0")/.."

# Settings for the slowest supported machine, software Vulkan on two cores: a small model, many steps, and higher learning
# rates than the defaults, which are meant for batches of half a million tokens.
vocabulary=512
depth=2
row=256
batch=8
steps=800
sft_steps=200

# Prints a command as it would be typed, then runs it.
show() {
    local word line=
    for word in "$@"; do
        case "$word" in
        *[!A-Za-z0-9_./=-]*) line="$line '$word'" ;;
        *) line="$line $word" ;;
        esac
    done
    printf '\n$%s\n' "$line"
    "$@"
}

# Where runs are kept: the same folders as in `checkpoint/home.rs`.
home() {
    if [ -n "${NC_HOME:-}" ]; then
        printf '%s' "$NC_HOME"
    elif [ "$(uname -s)" = Darwin ]; then
        printf '%s' "$HOME/Library/Application Support/nc-core"
    else
        printf '%s' "${XDG_DATA_HOME:-$HOME/.local/share}/nc-core"
    fi
}

show cargo build --release -p nc-core
built=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
export PATH="$built:$PATH"

for run in demo demo-sft; do
    if [ -e "$(home)/runs/$run" ]; then
        show rm -r "$(home)/runs/$run"
    fi
done
mkdir -p "$(home)/tokenizers"
show nc-core tokenizer train --data assets/corpus --vocab-size "$vocabulary" --out "$(home)/tokenizers/demo.json"
show nc-core train --data assets/corpus --tokenizer "$(home)/tokenizers/demo.json" --model-tag demo --depth "$depth" \
    --max-seq-len "$row" --device-batch-size "$batch" --total-batch-size "$((batch * row))" --num-iterations "$steps" \
    --matrix-lr 0.15 --embedding-lr 2 --unembedding-lr 0.06 --warmup-steps 10 --eval-every 150 --sample-every 300 --save-every 200
show nc-core generate --run demo --prompt 'My fellow citizens,'
show nc-core generate --run demo --prompt 'The whale' --seed 1
show nc-core sft --run demo --task assets/conversations/demo.jsonl --num-iterations "$sft_steps" --eval-every 100 --sample-every 50 --save-every -1
for question in 'Who are you?' 'What is the capital of France?' 'What is 12 + 30?'; do
    show nc-core chat --run demo-sft --temperature 0 --prompt "$question"
done

printf '\nThe models are in %s/runs. Talk with the one that answers:\n\n    %s/nc-core chat --run demo-sft\n' "$(home)" "$built"
