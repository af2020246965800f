"""Who takes part, as commands by name, and the rounds in which they run in turn."""

import argparse

from shell import BENCH, last_json, say

# What can be measured; `--only` chooses among these.
PARTS = ("matmul", "step", "infer", "formats")

# The formats of weights that are compared, the first with the others.
FORMATS = ("f32", "bf16", "q8", "q4")


def infer_name(side: str, depth: int) -> str:
    """The name under which a side's inference at a depth is measured."""
    return f"{side} infer, depth {depth}"


def format_name(depth: int, weights: str) -> str:
    """The name under which our inference in a format is measured; in f32 it is the same measurement as that of `infer`."""
    name = infer_name("nc-core", depth)
    return name if weights == "f32" else f"{name}, {weights}"


def contestants(args: argparse.Namespace, nc_core: list[str], python: str) -> dict[str, list[str]]:
    """The command of every contestant of the chosen parts. Both sides get the same options."""
    ours = [*nc_core, "bench"]
    reported = ["--json", *(["--adapter", args.adapter] if args.adapter else [])]
    model = ["--vocab", str(args.vocab), "--window-pattern", args.window_pattern]
    found = {}
    if "matmul" in args.only:
        sizes = [str(n) for n in args.sizes]
        found["nc-core matmul"] = [*ours, "matmul", *sizes, *reported]
        found["numpy matmul"] = [python, str(BENCH / "matmul_numpy.py"), *sizes]
    if "step" in args.only:
        step = ["--depth", str(args.depth), "--seq", str(args.seq), "--batch", str(args.batch), *model]
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
    return found


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[dict]]:
    """Runs every contestant once a round, in turn; gives each one's results by name."""
    results: dict[str, list[dict]] = {name: [] for name in commands}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, command in commands.items():
            results[name].append(last_json(name, command))
    return results
