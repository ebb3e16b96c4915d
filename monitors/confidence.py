"""A confidence sequence for the reward contrast mu1 - mu0, valid at every unit at once.

Inverts the betting e-processes of ``bets`` over a grid: a difference d is excluded once the process against
"mu1 - mu0 <= d" (from below) or ">= d" (from above) has reached 2 / alpha. Kept incrementally, one state a grid point
and direction; the interval only ever shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from monitors.bets import CAUTION, STAKES, log_mean_exp, usable

GRID = tuple(round(-0.5 + 0.02 * i, 2) for i in range(51))
"""Differences that are tried: -0.5 to 0.5 in steps of 0.02 reward units. Outside of it nothing is excluded."""


def interval(units: Iterable[tuple[bool, float, float]], alpha: float = 0.05) -> tuple[float, float]:
    """Bounds of mu1 - mu0 after (canary, propensity, reward) units in their order; (-1, 1) without evidence.

    The bounds are the grid points next outside the excluded ones, so they are at most one step too wide.
    """
    low = {d: [0.0] * len(STAKES) for d in GRID}
    high = {d: [0.0] * len(STAKES) for d in GRID}
    bound = math.log(2.0 / alpha)
    lower, upper = -1.0, 1.0
    count, total, squares = 0, 0.0, 0.0
    for canary, propensity, reward in units:
        if not usable(propensity, reward):
            continue
        centre = (0.5 + total) / (count + 1)
        variance = min(max((0.5 + squares) / (count + 10), 0.01), 0.25)
        control = 1.0 - propensity
        contrast = (reward - centre) * (1.0 / propensity if canary else -1.0 / control)
        least = max(centre / propensity, (1.0 - centre) / control)
        most = max((1.0 - centre) / propensity, centre / control)
        scale = propensity * control / variance
        for d in GRID:
            if d > lower:
                _bet(low[d], contrast - d, scale, CAUTION / (least + max(d, 0.0)))
                if log_mean_exp(low[d]) >= bound:
                    lower = max(lower, d)
            if d < upper:
                _bet(high[d], d - contrast, scale, CAUTION / (most + max(-d, 0.0)))
                if log_mean_exp(high[d]) >= bound:
                    upper = min(upper, d)
        count += 1
        total += reward
        squares += (reward - total / count) ** 2
    return lower, upper


def _bet(wealth: list[float], gain: float, scale: float, largest: float) -> None:
    for j, stake in enumerate(STAKES):
        wealth[j] += math.log1p(min(stake * scale, largest) * gain)
