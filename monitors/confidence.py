"""A confidence sequence for the reward contrast mu1 - mu0, valid at every unit at once.

Inverts the betting e-processes of ``bets`` over a grid: a difference d is excluded once the process against
"mu1 - mu0 <= d" (from below) or ">= d" (from above) has reached 2 / alpha. The interval only ever shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from monitors import bets
from monitors.many import Floats, log_sum_exp

GRID: Final = tuple(round(-0.5 + 0.02 * i, 2) for i in range(51))
"""Differences that are tried: -0.5 to 0.5 in steps of 0.02 reward units. Outside of it nothing is excluded."""


def interval(units: Iterable[tuple[bool, float, float]], alpha: float = 0.05) -> tuple[float, float]:
    """Bounds of mu1 - mu0 after (canary, propensity, reward) units in their order; (-1, 1) without evidence.

    The bounds are the outermost excluded grid points, so they are at most one step too wide. About 30 us a unit.
    """
    grid = np.array(GRID)
    stakes, weights = np.array(bets.STAKES)[:, None], np.array(bets.LOG_WEIGHTS)[:, None]
    low: Floats = np.zeros((len(bets.STAKES), len(GRID)))
    high: Floats = np.zeros((len(bets.STAKES), len(GRID)))
    most_low, most_high = np.zeros(len(GRID)), np.zeros(len(GRID))
    count, total, squares = 0, 0.0, 0.0
    for canary, propensity, reward in units:
        if not bets.usable(propensity, reward):
            continue
        centre = (1.0 + total) / (count + 2)
        variance = (bets.PRIOR_UNITS * centre * (1.0 - centre) + squares) / (count + bets.PRIOR_UNITS)
        variance = min(max(variance, bets.VARIANCE_MIN), bets.VARIANCE_MAX)
        control = 1.0 - propensity
        contrast = (reward - centre) * (1.0 / propensity if canary else -1.0 / control)
        least = max(centre / propensity, (1.0 - centre) / control)
        most = max((1.0 - centre) / propensity, centre / control)
        scaled = stakes * (propensity * control / variance)
        low += np.log1p(np.minimum(scaled, bets.CAUTION / (least + np.maximum(grid, 0.0))) * (contrast - grid))
        high += np.log1p(np.minimum(scaled, bets.CAUTION / (most + np.maximum(-grid, 0.0))) * (grid - contrast))
        most_low = np.maximum(most_low, log_sum_exp(low + weights))
        most_high = np.maximum(most_high, log_sum_exp(high + weights))
        count += 1
        if count % bets.RENEWAL_UNITS == 0:
            low, high = _renewed(low, weights), _renewed(high, weights)
        total += reward
        squares += (reward - total / count) ** 2
    bound = math.log(2.0 / alpha)
    below, above = grid[most_low >= bound], grid[most_high >= bound]
    return (float(below.max()) if below.size else -1.0, float(above.min()) if above.size else 1.0)


def _renewed(logs: Floats, weights: Floats) -> Floats:
    dealt = math.log(bets.RENEWAL_SHARE) + log_sum_exp(logs + weights)
    return np.logaddexp(logs + math.log1p(-bets.RENEWAL_SHARE), dealt)
