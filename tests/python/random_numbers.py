"""Writes the golden file of random numbers: what CPython's `random` and numpy's `default_rng` give.

    python tests/python/random_numbers.py > tests/golden/random_numbers.json

Long lists are kept as a digest: h = (1000003 h + x) mod (2^61 - 1) over the list, beginning with 0.
"""

import json
import platform
import random
import sys

import numpy

PRIME = (1 << 61) - 1


def digest(numbers):
    h = 0
    for x in numbers:
        h = (1000003 * h + int(x)) % PRIME
    return h


def shuffled(seed, size):
    numbers = list(range(size))
    random.Random(seed).shuffle(numbers)
    return numbers


def sampled(seed, population, count):
    return random.Random(seed).sample(range(population), count)


SIZES = [0, 1, 2, 3, 5, 8, 13, 32, 97, 100, 230, 256, 500, 625, 1221, 2376, 3270, 10042, 20321, 65536, 100003]
SEEDS = [0, 1, 42, 1337, 1234, (1 << 32) - 1, 1 << 32, (1 << 64) - 1]

golden = {
    "python": platform.python_version(),
    "numpy": numpy.__version__,
    "shuffle": [[seed, size, digest(shuffled(seed, size))] for seed in SEEDS for size in SIZES],
    "sample": [
        [seed, population, count, sampled(seed, population, count)]
        for seed in [*range(1234, 1274), *SEEDS]
        for population, count in [(10, 10), (20, 3), (21, 3), (21, 5), (22, 5), (31, 10), (84, 10), (85, 10), (86, 10), (277, 64), (278, 64), (1337, 10), (20320, 10)]
    ],
    "permutation": [[seed, size, digest(numpy.random.default_rng(seed).permutation(size))] for seed in SEEDS for size in SIZES],
}
json.dump(golden, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
