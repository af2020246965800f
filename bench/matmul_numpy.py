"""Times the float32 matrix product C = A·B of numpy, that is of OpenBLAS, for square matrices.

Prints one line of JSON: {"matmul": [{"m", "n", "k", "seconds", "gflops"}, …], "threads", "blas"}, medians over
`--repeats` products after a warm-up, the same form as `nc-core bench matmul --json`.
"""

import argparse
import json
import os
import statistics
import time

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
# OpenBLAS reads this while numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(CORES))

import numpy as np  # noqa: E402


def median_seconds(n: int, repeats: int, warm_up: int = 3) -> float:
    """Median seconds of one n × n · n × n product into a preallocated result."""
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, n), dtype=np.float32)
    b = rng.standard_normal((n, n), dtype=np.float32)
    c = np.empty((n, n), dtype=np.float32)
    seconds = []
    for i in range(warm_up + repeats):
        start = time.perf_counter()
        np.matmul(a, b, out=c)
        if i >= warm_up:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", type=int, nargs="*", default=[512, 1024], metavar="N", help="sizes to time (512 and 1024)")
    parser.add_argument("--repeats", type=int, default=20, help="timed products of each size")
    args = parser.parse_args()
    results = []
    for n in args.sizes:
        seconds = median_seconds(n, args.repeats)
        results.append({"m": n, "n": n, "k": n, "seconds": seconds, "gflops": 2 * n**3 / seconds / 1e9})
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    print(json.dumps({"matmul": results, "threads": CORES, "blas": f"{blas['name']} {blas['version']}"}))


if __name__ == "__main__":
    main()
