"""Measures nc-core beside its peers: numpy's OpenBLAS for the matrix product; for a training step PyTorch on the CPU,
and the same model in Burn on the same adapter.

Builds nc-core in release, puts the peers' packages into bench/.venv, then lets everyone run in turn for some rounds,
so that a busy moment of the machine meets both sides. Prints a table of medians and ratios, and writes all numbers to
bench/results/. Only the standard library is used here; docs/BENCHMARKS.md says how to read the result.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
VENV = BENCH / ".venv"


class BenchError(Exception):
    """A part of the benchmark could not run; the message says which and why."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def last_json(name: str, command: list[str]) -> dict:
    """Runs a command from the root of the repository and reads the JSON on the last line of its stdout."""
    say(f"  {name}: {' '.join(command)}")
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise BenchError(f"{name} ended with exit code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    lines = done.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise BenchError(f"{name} printed no JSON on its last line") from error


# Preparing -----------------------------------------------------------------------------------------------------------


def build_nc_core(burn: bool) -> str:
    """Builds the command in release, with its Burn twin if asked; gives its path."""
    say("building nc-core" + (" with its Burn twin (many minutes, once; --no-burn leaves it out)" if burn else ""))
    features = ["--features", "burn"] if burn else []
    if subprocess.run(["cargo", "build", "--release", "-p", "nc-core", *features], cwd=ROOT).returncode != 0:
        raise BenchError("nc-core does not build; see above")
    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    name = "nc-core.exe" if os.name == "nt" else "nc-core"
    return str(Path(json.loads(metadata.stdout)["target_directory"]) / "release" / name)


def peers_python() -> str:
    """Puts the pinned packages into bench/.venv unless they are there; gives its Python."""
    python = str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    requirements = BENCH / "requirements.txt"
    installed = VENV / "installed.txt"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        say("installing the peers into bench/.venv (some minutes, once)")
        venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
        if subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", str(requirements)]).returncode != 0:
            raise BenchError("the peers' packages could not be installed; see above")
        installed.write_text(requirements.read_text())
    return python


def check_peer(python: str) -> None:
    """A PyTorch model that computes something else would be no peer: compares it with the golden files first."""
    say("checking the PyTorch peer against tests/golden")
    golden = sorted(str(path) for path in (ROOT / "tests/golden").glob("*.safetensors"))
    done = subprocess.run([python, str(BENCH / "gpt_torch.py"), "--check", *golden], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BenchError(f"the PyTorch peer is off from the golden numbers:\n{done.stdout.strip()[-2000:]}")


def mesa26_runner() -> list[str]:
    """The prefix that starts a program on Mesa 26."""
    done = subprocess.run([str(ROOT / "scripts/mesa26.sh"), "runner"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise BenchError("Mesa 26 could not be put in place; see above")
    return [done.stdout.strip()]


# Measuring -----------------------------------------------------------------------------------------------------------


def median_of(rounds: list[dict], key: str) -> float:
    return statistics.median(result[key] for result in rounds)


def median_gflops(rounds: list[dict], n: int) -> float:
    """Median GFLOP/s of the n³ product over all rounds."""
    found = [entry["gflops"] for result in rounds for entry in result["matmul"] if entry["m"] == entry["n"] == entry["k"] == n]
    if not found:
        raise BenchError(f"there is no measurement of the product at {n}³")
    return statistics.median(found)


def measure(args: argparse.Namespace, nc_core: list[str], python: str) -> dict[str, list[dict]]:
    """Runs every contestant once a round, in turn; gives each one's results by name."""
    sizes = [str(n) for n in args.sizes]
    step = ["--depth", str(args.depth), "--seq", str(args.seq), "--vocab", str(args.vocab), "--batch", str(args.batch)]
    window = ["--window-pattern", args.window_pattern]
    ours = [*nc_core, "bench"]
    chosen = ["--adapter", args.adapter] if args.adapter else []
    torch = [python, str(BENCH / "gpt_torch.py"), *step, *window]
    contestants = {
        "nc-core matmul": [*ours, "matmul", *sizes, "--json", *chosen],
        "numpy matmul": [python, str(BENCH / "matmul_numpy.py"), *sizes],
        "nc-core step": [*ours, "step", *step, *window, "--json", *chosen],
        "torch step": torch,
        "torch step, compiled": [*torch, "--compile"],
    }
    if not args.no_burn:
        contestants["burn step"] = [*ours, "step", *step, *window, "--peer", "burn", "--json", *chosen]
    results: dict[str, list[dict]] = {name: [] for name in contestants}
    for number in range(args.rounds):
        say(f"round {number + 1} of {args.rounds}")
        for name, command in contestants.items():
            results[name].append(last_json(name, command))
    return results


# Reporting -----------------------------------------------------------------------------------------------------------


def ratios(args: argparse.Namespace, results: dict[str, list[dict]]) -> list[dict]:
    """One row for each comparison: what, unit, ours, peer's name and number, ours over the peer's."""
    rows = []
    for n in args.sizes:
        pair = median_gflops(results["nc-core matmul"], n), median_gflops(results["numpy matmul"], n)
        rows.append((f"matmul {n}³", "GFLOP/s", "numpy", *pair))
    mine = median_of(results["nc-core step"], "tokens_per_second")
    for peer in [name for name in results if name.endswith("step") or name.endswith("compiled")]:
        if peer == "nc-core step":
            continue
        rows.append((f"step, depth {args.depth}", "tokens/s", peer.replace(" step", ""), mine, median_of(results[peer], "tokens_per_second")))
    names = ("what", "unit", "peer", "ours", "theirs")
    return [dict(zip(names, row), ratio=row[3] / row[4]) for row in rows]


def print_table(rows: list[dict]) -> None:
    head = ("", "unit", "nc-core", "peer", "", "ratio")
    body = [(r["what"], r["unit"], f"{r['ours']:.1f}", r["peer"], f"{r['theirs']:.1f}", f"{r['ratio']:.3f}") for r in rows]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    right = (2, 4, 5)
    for line in [head, *body]:
        print("  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip())


def print_kernels(kernels: list) -> None:
    """Where a step's time goes, as nc-core told it: a list of objects with like keys."""
    if not kernels or not all(isinstance(kernel, dict) for kernel in kernels):
        return
    print("\nwhere the time of our step goes:")
    for kernel in kernels:
        print("  " + "  ".join(f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}" for key, value in kernel.items()))


def machine() -> dict:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {"system": platform.platform(), "cpu": model, "cores": cores, "load_before": load, "commit": commit.stdout.strip()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], metavar="N", help="matrix sizes (512 and 1024)")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--window-pattern", default="SSSL", help="of both sides' models")
    parser.add_argument("--rounds", type=int, default=3, help="times that everyone runs, in turn")
    parser.add_argument("--no-burn", action="store_true", help="leave the Burn twin out, which takes long to build")
    parser.add_argument("--adapter", help="as nc-core's --adapter")
    parser.add_argument("--mesa26", action="store_true", help="nc-core on Mesa 26 (scripts/mesa26.sh)")
    args = parser.parse_args()
    try:
        nc_core = [*(mesa26_runner() if args.mesa26 else []), build_nc_core(not args.no_burn)]
        python = peers_python()
        check_peer(python)
        about = machine()
        if about["load_before"] is not None and about["load_before"] > 0.5:
            say(f"the machine is busy (load {about['load_before']:.1f}): these numbers will not mean much")
        results = measure(args, nc_core, python)
        rows = ratios(args, results)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    adapter = results["nc-core step"][-1].get("adapter")
    print(f"\n{about['cpu']}, {about['cores']} cores; nc-core {about['commit']} on {adapter}; medians of {args.rounds} rounds\n")
    print_table(rows)
    print_kernels(results["nc-core step"][-1].get("kernels", []))
    now = datetime.datetime.now().astimezone()
    report = BENCH / "results" / f"{now:%Y-%m-%d-%H%M%S}.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps({"date": now.isoformat(), "machine": about, "options": vars(args), "ratios": rows, "runs": results}, indent=1) + "\n")
    print(f"\nall numbers: {report.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
