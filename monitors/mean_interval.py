"""A confidence sequence for the mean of values in [-1, 1], valid after every value at once.

Betting on each candidate mean d of a grid (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 2024): wealth prod(1 + stake * (x - d)) against "the mean is at most d", and its mirror image, each a
mean over fixed stakes. While the conditional mean of every value is d, neither ever reaches 2 / alpha but with
probability alpha / 2 (Ville 1939).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from monitors.many import Bools, Floats

GRID: Final[Floats] = np.array([round(-1.0 + 0.02 * i, 2) for i in range(101)])
"""Means that are tried; the bounds are at most one step too wide."""
SHARES: Final[Floats] = np.array([0.05, 0.12, 0.3, 0.6, 0.9])
"""Stakes as shares of the largest admissible one: small ones find small distances, large ones large distances soon."""


def mean_interval(values: Sequence[float], alpha: float) -> tuple[float, float]:
    """Bounds of the mean; (-1, 1) without values. Values that are not in [-1, 1], NaN among them, are left out."""
    kept: Floats = np.array([x for x in values if -1.0 <= x <= 1.0], dtype=np.float64)
    if not kept.size:
        return -1.0, 1.0
    bound = math.log(2.0 / alpha)
    low = _excluded(kept, bound)
    high = _excluded(-kept, bound)[::-1]
    below, above = GRID[low], GRID[high]
    return (float(below.max()) if below.size else -1.0, float(above.min()) if above.size else 1.0)


def _excluded(values: Floats, bound: float) -> Bools:
    """Which means of the grid are too low for these values: wealth against them reached the bound at some instant."""
    distance = values[:, None] - GRID[None, :]
    largest = 1.0 / np.maximum(1.0 + GRID, 0.02)
    wealths = [np.cumsum(np.log1p(share * largest * distance), axis=0) for share in SHARES]
    return np.logaddexp.reduce(wealths, axis=0).max(axis=0) - math.log(len(SHARES)) >= bound
