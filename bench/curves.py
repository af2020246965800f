"""Trains the same model in f32, f16 and bf16 with several seeds, and compares the ends of the loss curves.

The mean loss of the last steps in 16 bits is divided by that in f32 of the same seed: what a precision costs beside what rounding
alone would change. Exits with 1 if a ratio is further from 1 than `--bar`. Uses an nc-core that is already built.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from contestants import PRECISIONS


def train(args: argparse.Namespace, home: Path, precision: str, seed: int) -> list[float]:
    """The loss of every step."""
    name = f"{precision}-{seed}"
    size = ["--depth", str(args.depth), "--aspect-ratio", str(args.aspect_ratio), "--head-dim", str(args.head_dim)]
    size += ["--max-seq-len", str(args.seq), "--total-batch-size", str(args.tokens)]
    size += ["--device-batch-size", str(args.tokens // args.seq), "--num-iterations", str(args.steps)]
    never = [option for what in ("eval", "sample", "save") for option in (f"--{what}-every", "-1")]
    command = [args.binary, "train", "--run", name, *size, *never, "--seed", str(seed), "--precision", precision]
    subprocess.run(command, env=os.environ | {"NC_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = (home / "runs" / name / "metrics.jsonl").read_text().splitlines()
    steps = [metrics for metrics in map(json.loads, lines) if "loss" in metrics]
    skipped = sum(metrics.get("skipped", False) for metrics in steps)
    seconds = sorted(metrics["seconds"] for metrics in steps)[len(steps) // 2]
    print(f"  {name}: {seconds * 1e3:.0f} ms a step, {skipped} left out", flush=True)
    return [metrics["loss"] for metrics in steps]


def main() -> int:
    parser = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[0].split()))
    parser.add_argument("binary", metavar="NC_CORE", help="the program")
    parser.add_argument("--depth", type=int, default=4, help="layers (4)")
    parser.add_argument("--aspect-ratio", type=int, default=64, help="channels per layer of depth (64)")
    parser.add_argument("--head-dim", type=int, default=128, help="channels per head (128)")
    parser.add_argument("--seq", type=int, default=256, help="tokens of a row (256)")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a step (1024)")
    parser.add_argument("--steps", type=int, default=300, help="steps (300)")
    parser.add_argument("--last", type=int, default=50, help="steps whose losses are averaged (50)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the initial weights (1, 2 and 3)")
    parser.add_argument("--bar", type=float, default=0.005, help="how far a ratio may be from 1 (0.005)")
    args = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            ends = {}
            for precision in PRECISIONS:
                losses = train(args, Path(folder), precision, seed)
                ends[precision] = sum(losses[-args.last :]) / args.last
            base, *others = PRECISIONS
            for other in others:
                off = ends[other] / ends[base] - 1.0
                worst = max(worst, abs(off))
                print(f"seed {seed}: {base} {ends[base]:.4f}, {other} {ends[other]:.4f}, {100 * off:+.3f} %", flush=True)
    return int(worst > args.bar)


if __name__ == "__main__":
    sys.exit(main())
