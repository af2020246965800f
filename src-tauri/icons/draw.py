#!/usr/bin/env python3
"""Draws the app's icon, so that its shape is written down: python3 draw.py. Needs nothing but Python.

A speech bubble in which a small network of three layers stands, white on a blue square. `icon.icns` and `icon.ico` are
containers around the same PNG images.
"""

import struct
import zlib
from math import hypot
from pathlib import Path

HERE = Path(__file__).parent
SAMPLES = 4  # a pixel's edge, for smooth borders
LAYERS = [[(0.36, 0.37), (0.36, 0.55)], [(0.5, 0.30), (0.5, 0.46), (0.5, 0.62)], [(0.64, 0.37), (0.64, 0.55)]]
LINES = [(a, b) for one, other in zip(LAYERS, LAYERS[1:]) for a in one for b in other]


def rounded(x, y, left, top, right, bottom, radius):
    """Whether a point is in a rectangle with round corners."""
    dx = max(left + radius - x, 0, x - right + radius)
    dy = max(top + radius - y, 0, y - bottom + radius)
    return hypot(dx, dy) <= radius


def near(x, y, a, b):
    """The distance of a point from a line between two others."""
    (ax, ay), (bx, by) = a, b
    t = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
    t = min(max(t, 0), 1)
    return hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay))


def colour(x, y):
    """Red, green, blue and opacity at a point of the unit square."""
    if not rounded(x, y, 0.03, 0.03, 0.97, 0.97, 0.21):
        return 0, 0, 0, 0
    ground = 37 - 12 * y, 99 - 34 * y, 235 - 52 * y, 255
    tail = 0.28 <= x <= 0.46 and 0.70 <= y <= 0.86 and (y - 0.70) <= (0.46 - x)
    if not (rounded(x, y, 0.17, 0.18, 0.83, 0.74, 0.13) or tail):
        return ground
    dots = any(hypot(x - cx, y - cy) <= 0.045 for layer in LAYERS for cx, cy in layer)
    if dots or any(near(x, y, a, b) <= 0.009 for a, b in LINES):
        return ground
    return 255, 255, 255, 255


def png(size):
    """The icon as a PNG image."""
    rows = bytearray()
    for row in range(size):
        rows.append(0)
        for column in range(size):
            points = [((column + (i + 0.5) / SAMPLES) / size, (row + (j + 0.5) / SAMPLES) / size) for i in range(SAMPLES) for j in range(SAMPLES)]
            parts = [colour(x, y) for x, y in points]
            alpha = sum(part[3] for part in parts)
            rows += bytes(round(sum(part[c] * part[3] for part in parts) / alpha) if alpha else 0 for c in range(3))
            rows.append(round(alpha / len(parts)))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 9)) + chunk(b"IEND", b"")


def main():
    images = {size: png(size) for size in (16, 32, 64, 128, 256, 512)}
    for name, size in (("32x32", 32), ("128x128", 128), ("128x128@2x", 256), ("icon", 512)):
        (HERE / f"{name}.png").write_bytes(images[size])
    kinds = ((b"icp4", 16), (b"icp5", 32), (b"ic07", 128), (b"ic08", 256), (b"ic09", 512))
    body = b"".join(kind + struct.pack(">I", 8 + len(images[size])) + images[size] for kind, size in kinds)
    (HERE / "icon.icns").write_bytes(b"icns" + struct.pack(">I", 8 + len(body)) + body)
    sizes = (16, 32, 64, 256)
    offset = 6 + 16 * len(sizes)
    entries = b""
    for size in sizes:
        entries += struct.pack("<BBBBHHII", size % 256, size % 256, 0, 0, 1, 32, len(images[size]), offset)
        offset += len(images[size])
    (HERE / "icon.ico").write_bytes(struct.pack("<HHH", 0, 1, len(sizes)) + entries + b"".join(images[size] for size in sizes))


if __name__ == "__main__":
    main()
