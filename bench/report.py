"""From results to tables: medians over the rounds, ratios to the peers, and shares of the speed of memory."""

import argparse
import os
import platform
import statistics
import subprocess
from pathlib import Path

from contestants import (
    FORMATS,
    PRECISIONS,
    failed,
    format_name,
    infer_name,
    llama_backends,
    llama_name,
    llama_peer,
    step_name,
)
from shell import ROOT, BenchError

Results = dict[str, list[dict]]


def median_of(rounds: list[dict], key: str) -> float:
    return statistics.median(result[key] for result in rounds)


def median_gflops(rounds: list[dict], n: int) -> float:
    """Median GFLOP/s of the n³ product over all rounds."""
    found = [entry["gflops"] for result in rounds for entry in result["matmul"] if entry["m"] == entry["n"] == entry["k"] == n]
    if not found:
        raise BenchError(f"there is no measurement of the product at {n}³")
    return statistics.median(found)


def median_decode(rounds: list[dict], batch: int, key: str) -> float:
    """Median over all rounds of what was measured under `key` when `batch` rows were decoded together."""
    found = [entry[key] for result in rounds for entry in result["sweep"] if entry["batch_size"] == batch]
    if not found:
        raise BenchError(f"there is no measurement of decoding {batch} rows")
    return statistics.median(found)


# Comparisons ---------------------------------------------------------------------------------------------------------


def ratio(what: str, unit: str, peer: str, ours: float, theirs: float | None) -> dict:
    """A comparison; a peer that failed has no number."""
    return {"what": what, "unit": unit, "peer": peer, "ours": ours, "theirs": theirs, "ratio": theirs and ours / theirs}


def ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    """One row for each comparison of the chosen parts."""
    rows = []
    if "matmul" in args.only:
        rows += matmul_ratios(args, results)
    if "step" in args.only:
        rows += step_ratios(args, results)
    if "precision" in args.only:
        rows += precision_ratios(args, results)
    if "infer" in args.only:
        rows += infer_ratios(args, results)
    if "formats" in args.only:
        rows += format_ratios(args, results)
    if "llama" in args.only:
        rows += llama_ratios(args, results)
    return rows


def matmul_ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    both = results["nc-core matmul"], results["numpy matmul"]
    return [ratio(f"matmul {n}³", "GFLOP/s", "numpy", *(median_gflops(rounds, n) for rounds in both)) for n in args.sizes]


def step_ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    mine = median_of(results["nc-core step"], "tokens_per_second")
    peers = [name for name in ("torch step", "torch step, compiled", "burn step") if name in results]
    what = f"step, depth {args.depth}"
    return [ratio(what, "tokens/s", name.replace(" step", ""), mine, median_of(results[name], "tokens_per_second")) for name in peers]


def precision_ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    """Our training step from 16-bit inputs beside ours in f32."""
    base, *others = PRECISIONS
    speeds = {precision: median_of(results[step_name(precision)], "tokens_per_second") for precision in PRECISIONS}
    what = f"step, depth {args.depth}"
    return [ratio(f"{what}, {other}", "tokens/s", f"ours in {base}", speeds[other], speeds[base]) for other in others]


def infer_ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    rows = []
    for depth in args.infer_depths:
        both = results[infer_name("nc-core", depth)], results[infer_name("torch", depth)]
        prefills = [[result["prefill"] for result in rounds] for rounds in both]
        rows.append(ratio(f"prefill, depth {depth}", "tokens/s", "torch", *(median_of(rounds, "tokens_per_second") for rounds in prefills)))
        for batch in args.infer_batches:
            speeds = [median_decode(rounds, batch, "tokens_per_second") for rounds in both]
            rows.append(ratio(f"decode, depth {depth}, batch {batch}", "tokens/s", "torch", *speeds))
    return rows


def format_ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    """Our decoding in the smaller formats beside ours in f32."""
    base, *others = FORMATS
    rows = []
    for depth in args.infer_depths:
        for batch in args.infer_batches:
            speeds = {weights: median_decode(results[format_name(depth, weights)], batch, "tokens_per_second") for weights in FORMATS}
            what = f"decode, depth {depth}, batch {batch}"
            rows += [ratio(f"{what}, {weights}", "tokens/s", f"ours in {base}", speeds[weights], speeds[base]) for weights in others]
    return rows


def llama_ratios(args: argparse.Namespace, results: Results) -> list[dict]:
    rows = []
    for depth in args.llama_depths:
        for backend, formats in llama_backends(args).items():
            for weights in formats:
                mine = median_decode(results[llama_name("nc-core", depth, weights)], 1, "tokens_per_second")
                rounds = results[llama_name(llama_peer(backend), depth, weights)]
                what = f"decode, depth {depth}, batch 1, {weights}", "tokens/s", llama_peer(backend)
                theirs = None if failed(rounds) else median_of(rounds, "tokens_per_second")
                rows.append({**ratio(*what, mine, theirs), "failed": failed(rounds)})
    return rows


def bandwidths(args: argparse.Namespace, results: Results) -> list[dict]:
    """How near our decoding comes to the speed of memory: one row for each depth and batch size."""
    if "infer" not in args.only:
        return []
    rows = []
    for depth in args.infer_depths:
        rounds = results[infer_name("nc-core", depth)]
        copies = {
            "copy_bandwidth": median_of(rounds, "copy_bandwidth"),
            "torch_copy_bandwidth": median_of(results[infer_name("torch", depth)], "copy_bandwidth"),
        }
        for batch in args.infer_batches:
            measured = {key: median_decode(rounds, batch, key) for key in ("step_seconds", "mbu", "read_bandwidth_share")}
            rows.append({"depth": depth, "batch_size": batch, **copies, **measured})
    return rows


# Printing ------------------------------------------------------------------------------------------------------------


def print_table(head: tuple[str, ...], body: list[tuple[str, ...]], right: tuple[int, ...]) -> None:
    """Aligned columns; those in `right` hold numbers."""
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    for line in [head, *body]:
        print("  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip())


def print_ratios(rows: list[dict]) -> None:
    def numbers(r: dict) -> tuple[str, str]:
        return ("failed", "-") if r["theirs"] is None else (f"{r['theirs']:.1f}", f"{r['ratio']:.3f}")

    body = [(r["what"], r["unit"], f"{r['ours']:.1f}", r["peer"], *numbers(r)) for r in rows]
    print_table(("", "unit", "nc-core", "peer", "", "ratio"), body, right=(2, 4, 5))
    for reason in [r["failed"] for r in rows if r.get("failed")]:
        print(f"failed: {reason.splitlines()[0].rstrip(':')}")


def print_other_adapters(results: Results) -> None:
    """llama.cpp numbers the adapters by itself: says so if it took another one than nc-core."""
    theirs = {rounds[-1].get("device") for name, rounds in results.items() if name.startswith(llama_peer("Vulkan"))} - {None}
    for device in sorted(theirs - {adapter(results)}):
        print(f"\nllama.cpp's Vulkan ran on {device}, which is another adapter than nc-core's; choose with --llama-device")


def print_bandwidths(rows: list[dict]) -> None:
    if not rows:
        return
    print("\nour decoding beside the speed of memory:")
    body = [
        (
            f"decode, depth {r['depth']}, batch {r['batch_size']}",
            f"{r['step_seconds'] * 1e3:.2f}",
            f"{r['copy_bandwidth'] / 1e9:.2f}",
            f"{r['torch_copy_bandwidth'] / 1e9:.2f}",
            f"{r['mbu']:.1%}",
            f"{r['read_bandwidth_share']:.1%}",
        )
        for r in rows
    ]
    print_table(("", "ms a step", "copy GB/s", "torch's copy", "MBU", "of what is read"), body, right=(1, 2, 3, 4, 5))


def print_kernels(results: Results) -> None:
    """Where a step's time goes, as nc-core told it: a list of objects with like keys."""
    rounds = results.get("nc-core step")
    kernels = rounds[-1].get("kernels", []) if rounds else []
    if not kernels or not all(isinstance(kernel, dict) for kernel in kernels):
        return
    print("\nwhere the time of our step goes:")
    for kernel in kernels:
        print("  " + "  ".join(f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}" for key, value in kernel.items()))


# The machine ---------------------------------------------------------------------------------------------------------


def machine() -> dict:
    """What the numbers are measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {"system": platform.platform(), "cpu": model, "cores": cores, "load_before": load, "commit": commit.stdout.strip()}


def adapter(results: Results) -> str | None:
    """The adapter that nc-core ran on, as it told."""
    return next((rounds[-1]["adapter"] for rounds in results.values() if "adapter" in rounds[-1]), None)
