"""Measures nc-core beside its peers: numpy's OpenBLAS for the matrix product; for a training step PyTorch on the CPU,
and the same model in Burn on the same adapter; for a step in f16 and bf16 nc-core itself in f32; for inference PyTorch on the CPU with a key-value cache; for decoding with
weights in bf16, q8 and q4 nc-core itself in f32; for decoding at batch 1 llama.cpp on the same adapter and on the CPU.

Builds nc-core in release, puts the peers' Python packages into bench/.venv, then lets everyone run in turn for some rounds,
so that a busy moment of the machine meets both sides. Prints tables of medians and ratios, and writes all numbers to
bench/results/. Only the standard library is used here; docs/BENCHMARKS.md says how to read the result.
"""

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path

from contestants import PARTS, contestants, measure
from prepare import build_nc_core, built_nc_core, check_peers, has_llama, mesa26_runner, peers_python, write_models
from report import adapter, bandwidths, machine, print_bandwidths, print_kernels, print_other_adapters, print_ratios, ratios
from shell import BENCH, ROOT, BenchError, say


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[0].split()))
    parts = f"run these of {', '.join(PARTS)} (all)"
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=parts)
    parser.add_argument("--rounds", type=positive, default=3, help="times that everyone runs, in turn (3)")
    parser.add_argument("--binary", type=Path, metavar="PATH", help="measure this nc-core instead of building it")
    parser.add_argument("--no-burn", action="store_true", help="leave the Burn twin out, which takes long to build")
    parser.add_argument("--no-llama", action="store_true", help="leave llama.cpp out")
    parser.add_argument("--adapter", help="as nc-core's --adapter")
    parser.add_argument("--mesa26", action="store_true", help="nc-core on Mesa 26 (scripts/mesa26.sh)")
    parser.add_argument("--vocab", type=positive, default=4096, help="of both sides' models (4096)")
    parser.add_argument("--window-pattern", default="SSSL", help="of both sides' models (SSSL)")

    matmul = parser.add_argument_group("matmul")
    matmul.add_argument("--sizes", type=positive, nargs="+", default=[512, 1024], metavar="N", help="matrix sizes (512 and 1024)")

    step = parser.add_argument_group("step and precision")
    step.add_argument("--depth", type=positive, default=4, help="layers (4)")
    step.add_argument("--seq", type=positive, default=512, help="tokens of a row (512)")
    step.add_argument("--batch", type=positive, default=4, help="rows (4)")

    infer = parser.add_argument_group("infer and formats")
    infer.add_argument("--infer-depths", type=positive, nargs="+", default=[4, 8], metavar="N", help="layers (4 and 8)")
    batches = "rows decoded together (1, 8 and 32)"
    infer.add_argument("--infer-batches", type=positive, nargs="+", default=[1, 8, 32], metavar="N", help=batches)
    infer.add_argument("--max-seq-len", type=positive, default=512, help="tokens of the context (512)")
    infer.add_argument("--prompt-tokens", type=positive, default=256, help="tokens of the prompt (256)")
    infer.add_argument("--decode-tokens", type=positive, default=64, help="tokens that every row writes (64)")

    llama = parser.add_argument_group("llama", "weights in f32 and q8 on Vulkan, and in f32, q8 and q4 on the CPU, after a short prompt")
    llama.add_argument("--llama-depths", type=positive, nargs="+", default=[4, 8, 12], metavar="N", help="layers (4, 8 and 12)")
    llama.add_argument("--llama-threads", type=positive, default=2, metavar="N", help="threads of its CPU backend (2)")
    llama.add_argument("--llama-device", type=int, default=0, metavar="N", help="its number of the Vulkan adapter (0)")
    limit = "a run of llama.cpp that takes longer has failed (600)"
    llama.add_argument("--llama-timeout", type=positive, default=600, metavar="SECONDS", help=limit)
    return parser.parse_args()


def leave_llama_out(args: argparse.Namespace) -> None:
    """Drops the part where llama.cpp is not wanted or not there."""
    if "llama" in args.only and not args.no_llama and not has_llama():
        say("llama.cpp is left out: it is not in bench/llama; scripts/setup.sh --bench installs it on Debian and Ubuntu, x86-64 only")
        args.no_llama = True
    if args.no_llama:
        args.only = [part for part in args.only if part != "llama"]
    if not args.only:
        raise BenchError("nothing is left to measure")


def main() -> int:
    args = options()
    models = tempfile.TemporaryDirectory(prefix="nc-bench-")
    burn = "step" in args.only and not args.no_burn
    try:
        leave_llama_out(args)
        binary = built_nc_core(args.binary, burn) if args.binary else build_nc_core(burn)
        nc_core = [*(mesa26_runner() if args.mesa26 else []), binary]
        # The formats are compared with each other: no peer takes part.
        python = peers_python() if args.only != ["formats"] else ""
        check_peers(python, args.only)
        folder = Path(models.name)
        written = write_models(python, args.llama_depths, args.vocab, args.max_seq_len, folder) if "llama" in args.only else []
        about = machine()
        if about["load_before"] is not None and about["load_before"] > 0.5:
            say(f"the machine is busy (load {about['load_before']:.1f}): these numbers will not mean much")
        results = measure(contestants(args, nc_core, python, folder), args.rounds, args.llama_timeout)
        rows = ratios(args, results)
        shares = bandwidths(args, results)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        models.cleanup()
    measured = binary if args.binary else about["commit"]
    rounds = "one round" if args.rounds == 1 else f"medians of {args.rounds} rounds"
    print(f"\n{about['cpu']}, {about['cores']} cores; nc-core {measured} on {adapter(results)}; {rounds}\n")
    print_ratios(rows)
    print_other_adapters(results)
    print_bandwidths(shares)
    print_kernels(results)
    now = datetime.datetime.now().astimezone()
    chosen = {**vars(args), "binary": binary}
    report = BENCH / "results" / f"{now:%Y-%m-%d-%H%M%S}.json"
    report.parent.mkdir(exist_ok=True)
    numbers = {"date": now.isoformat(), "machine": about, "options": chosen, "ratios": rows, "bandwidths": shares}
    numbers |= {"llama_models": written, "runs": results}
    report.write_text(json.dumps(numbers, indent=1) + "\n")
    print(f"\nall numbers: {report.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
