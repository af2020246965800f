"""Who takes part, as commands by name, and the rounds in which they run in turn."""

import argparse
from pathlib import Path

from shell import BENCH, BenchError, last_json, say

# What can be measured; `--only` chooses among these.
PARTS = ("matmul", "step", "precision", "infer", "formats", "llama")

# The formats of weights that are compared, the first with the others.
FORMATS = ("f32", "bf16", "q8", "q4")

# What the inputs of products are rounded to in training, the first beside the others.
PRECISIONS = ("f32", "f16", "bf16")

# What llama.cpp decodes with: its Vulkan backend on the same adapter, and its CPU backend.
LLAMA = {"Vulkan": ("f32", "q8"), "CPU": ("f32", "q8", "q4")}
# A short prompt: what is compared is the reading of weights, and the caches differ.
LLAMA_PROMPT = 16


def infer_name(side: str, depth: int) -> str:
    """The name under which a side's inference at a depth is measured."""
    return f"{side} infer, depth {depth}"


def step_name(precision: str) -> str:
    """The name under which our training step in a precision is measured; in f32 it is the same measurement as that of `step`."""
    return "nc-core step" if precision == "f32" else f"nc-core step, {precision}"


def format_name(depth: int, weights: str) -> str:
    """The name under which our inference in a format is measured; in f32 it is the same measurement as that of `infer`."""
    name = infer_name("nc-core", depth)
    return name if weights == "f32" else f"{name}, {weights}"


def llama_name(side: str, depth: int, weights: str) -> str:
    """The name under which a side's decoding beside llama.cpp is measured."""
    return f"{side} decode, depth {depth}, {weights}"


def llama_peer(backend: str) -> str:
    return f"llama.cpp {backend}"


def llama_backends(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    # Mesa 26 is there for a program that its runner starts, and not for those that this one starts, as Node does.
    return {backend: weights for backend, weights in LLAMA.items() if not (args.mesa26 and backend == "Vulkan")}


def model_path(models: Path, depth: int, weights: str) -> Path:
    return models / f"depth-{depth}-{weights}.gguf"


def contestants(args: argparse.Namespace, nc_core: list[str], python: str, models: Path) -> dict[str, list[str]]:
    """The command of every contestant of the chosen parts. Both sides get the same options."""
    ours = [*nc_core, "bench"]
    reported = ["--json", *(["--adapter", args.adapter] if args.adapter else [])]
    model = ["--vocab", str(args.vocab), "--window-pattern", args.window_pattern]
    found = {}
    if "matmul" in args.only:
        sizes = [str(n) for n in args.sizes]
        found["nc-core matmul"] = [*ours, "matmul", *sizes, *reported]
        found["numpy matmul"] = [python, str(BENCH / "matmul_numpy.py"), *sizes]
    step = ["--depth", str(args.depth), "--seq", str(args.seq), "--batch", str(args.batch), *model]
    if "precision" in args.only:
        found |= {step_name(precision): [*ours, "step", *step, "--precision", precision, *reported] for precision in PRECISIONS}
    if "step" in args.only:
        torch = [python, str(BENCH / "gpt_torch.py"), *step]
        found["nc-core step"] = [*ours, "step", *step, *reported]
        found["torch step"] = torch
        found["torch step, compiled"] = [*torch, "--compile"]
        if not args.no_burn:
            found["burn step"] = [*ours, "step", *step, "--peer", "burn", *reported]
    context = ["--max-seq-len", str(args.max_seq_len)]
    context += ["--prompt-tokens", str(args.prompt_tokens), "--decode-tokens", str(args.decode_tokens)]
    rows = [str(rows) for rows in args.infer_batches]
    for depth in args.infer_depths:
        infer = ["--depth", str(depth), *context, *model]
        mine = [*ours, "infer", *infer, "--batch-sizes", ",".join(rows), *reported]
        if "infer" in args.only:
            found[infer_name("nc-core", depth)] = mine
            found[infer_name("torch", depth)] = [python, str(BENCH / "infer_torch.py"), *infer, "--batch-sizes", *rows]
        if "formats" in args.only:
            found |= {format_name(depth, weights): [*mine, "--weights", weights] for weights in FORMATS}
    if "llama" in args.only:
        decode = ["--prompt-tokens", str(LLAMA_PROMPT), "--decode-tokens", str(args.decode_tokens), "--batch-sizes", "1"]
        for depth in args.llama_depths:
            infer = ["--depth", str(depth), "--max-seq-len", str(args.max_seq_len), *decode, *model, *reported]
            for weights in LLAMA["CPU"]:
                found[llama_name("nc-core", depth, weights)] = [*ours, "infer", *infer, "--weights", weights]
                for backend in [backend for backend, known in llama_backends(args).items() if weights in known]:
                    script = ["node", str(BENCH / "llama/decode.mjs"), str(model_path(models, depth, weights)), backend.lower()]
                    numbers = (LLAMA_PROMPT, args.decode_tokens, args.llama_threads, args.llama_device)
                    found[llama_name(llama_peer(backend), depth, weights)] = [*script, *map(str, numbers)]
    return found


def failed(rounds: list[dict]) -> str | None:
    """Why a contestant has no result, if it has none."""
    return rounds[-1].get("failed") if rounds else None


def measure(commands: dict[str, list[str]], rounds: int, llama_limit: int) -> dict[str, list[dict]]:
    """Runs every contestant once a round, in turn; gives each one's results by name.

    llama.cpp runs on drivers that its authors do not test. If it fails, its only result is {"failed": why}, and the others go on.
    """
    results: dict[str, list[dict]] = {name: [] for name in commands}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, command in commands.items():
            if not name.startswith("llama.cpp "):
                results[name].append(last_json(name, command))
            elif not failed(results[name]):
                try:
                    results[name].append(last_json(name, command, llama_limit))
                except BenchError as error:
                    say(f"  {error}")
                    results[name] = [{"failed": str(error)}]
    return results
