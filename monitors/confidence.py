"""A confidence sequence for the reward contrast mu1 - mu0, valid at every unit at once.

Inverts the betting e-processes of ``bets``: a difference d is excluded once the process against "mu1 - mu0 <= d" (from
below) or ">= d" (from above) has reached 2 / alpha. The interval only ever shrinks.

In every unit the gain of the bet from below, min(s, c / (B + max(d, 0))) * (x - d) with x >= -B, falls as d rises, and
dealing wealth out anew keeps that order: what excludes a difference excludes all below it. So the excluded differences
have one edge, which is found digit by digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitors import bets
from monitors.many import Bools, Floats, log_sum_exp

PARTS: Final = 1000
"""Differences are tried in such parts of a reward unit."""
STEPS: Final = (100, 10, 1)
"""Steps from -1 to 1 in those parts, coarse to fine; each finer one fills a single step of the one before."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Units as a bet from below sees them, each array as long as there are units."""

    contrast: Floats
    least: Floats
    """Largest value that minus the contrast can take."""
    scale: Floats
    """What a stake is multiplied with."""


def interval(units: Iterable[tuple[bool, float, float]], alpha: float = 0.05) -> tuple[float, float]:
    """Bounds of mu1 - mu0 after (canary, propensity, reward) units in their order; (-1, 1) without evidence.

    The bounds are the outermost excluded thousandths, so they are at most .001 too wide. About 5 us a unit.
    """
    rows = np.array([u for u in units if bets.usable(u[1], u[2])], dtype=np.float64).reshape(-1, 3)
    if not len(rows):
        return -1.0, 1.0
    below, above = _told(rows)
    bound = math.log(2.0 / alpha)
    return _edge(below, bound), 0.0 - _edge(above, bound)


def _told(rows: Floats) -> tuple[_Told, _Told]:
    """Units for the bets from below, and mirrored for those from above: d there is -d here."""
    canary, propensity, reward = rows[:, 0] > 0.0, rows[:, 1], rows[:, 2]
    before = np.arange(len(rows), dtype=np.float64)
    totals = np.cumsum(reward)
    distances = (reward - totals / (before + 1.0)) ** 2
    total, squares = totals - reward, np.cumsum(distances) - distances
    centre = (1.0 + total) / (before + 2.0)
    variance = (bets.PRIOR_UNITS * centre * (1.0 - centre) + squares) / (before + bets.PRIOR_UNITS)
    control = 1.0 - propensity
    contrast = (reward - centre) * np.where(canary, 1.0 / propensity, -1.0 / control)
    scale = propensity * control / np.clip(variance, bets.VARIANCE_MIN, bets.VARIANCE_MAX)
    least = np.maximum(centre / propensity, (1.0 - centre) / control)
    most = np.maximum((1.0 - centre) / propensity, centre / control)
    return _Told(contrast, least, scale), _Told(-contrast, most, scale)


def _edge(told: _Told, bound: float) -> float:
    """The largest difference whose process reaches ``bound`` (log); -1 without one."""
    at, end = -PARTS, PARTS
    for step in STEPS:
        tried = np.arange(at + step, end, step)
        at += step * int(_reach(told, tried / PARTS, bound).sum())
        end = at + step
    return at / PARTS


def _reach(told: _Told, differences: Floats, bound: float) -> Bools:
    """Whether the process against each difference ever reaches ``bound``."""
    d = differences[:, None, None]
    stakes, weights = np.array(bets.STAKES)[None, :, None], np.array(bets.LOG_WEIGHTS)[None, :, None]
    wealth = np.zeros((len(differences), len(bets.STAKES), 1))
    reached: Bools = np.zeros(len(differences), dtype=np.bool_)
    for start in range(0, len(told.contrast), bets.RENEWAL_UNITS):
        block = slice(start, start + bets.RENEWAL_UNITS)
        largest = bets.CAUTION / (told.least[block] + np.maximum(d, 0.0))
        gains = np.log1p(np.minimum(stakes * told.scale[block], largest) * (told.contrast[block] - d))
        path = wealth + np.cumsum(gains, axis=2)
        mixed = log_sum_exp(np.moveaxis(path + weights, 1, 0))
        reached |= mixed.max(axis=1) >= bound
        if reached.all():
            break
        wealth = path[:, :, -1:]
        if start + bets.RENEWAL_UNITS <= len(told.contrast):
            dealt = math.log(bets.RENEWAL_SHARE) + mixed[:, -1][:, None, None]
            wealth = np.logaddexp(wealth + math.log1p(-bets.RENEWAL_SHARE), dealt)
    return reached
