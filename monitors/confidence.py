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
STEPS: Final = (200, 20, 4, 1)
"""Steps from -1 to 1 in those parts, coarse to fine; each finer one fills a single step of the one before."""


_STAKES: Final = np.array(bets.STAKES)[:, None, None, None]
_LOG_WEIGHTS: Final = np.array(bets.LOG_WEIGHTS)[:, None, None, None]


@dataclass(frozen=True, slots=True)
class _Told:
    """Units as the bets from below and from above see them, of shape (2, units): from above, a difference d is -d."""

    contrast: Floats
    least: Floats
    """Largest value that minus the contrast can take."""
    scale: Floats
    """What a stake is multiplied with, of shape (units,)."""


def interval(units: Iterable[tuple[bool, float, float]], alpha: float = 0.05) -> tuple[float, float]:
    """Bounds of mu1 - mu0 after (canary, propensity, reward) units in their order; (-1, 1) without evidence.

    The bounds are the outermost excluded thousandths, so they are at most .001 too wide. About 3 us a unit.
    """
    rows = np.array([u for u in units if bets.usable(u[1], u[2])], dtype=np.float64).reshape(-1, 3)
    if not len(rows):
        return -1.0, 1.0
    below, above = _edges(_told(rows), math.log(2.0 / alpha))
    return below, 0.0 - above


def _told(rows: Floats) -> _Told:
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
    return _Told(np.stack((contrast, -contrast)), np.stack((least, most)), scale)


def _edges(told: _Told, bound: float) -> list[float]:
    """From below and from above: the largest difference whose process reaches ``bound`` (log); -1 without one."""
    at, end = np.full((2, 1), -PARTS), PARTS
    for step in STEPS:
        tried = at + np.arange(step, end - int(at.min()), step)
        at = at + step * _reach(told, tried / PARTS, bound).sum(axis=1, keepdims=True)
        end = int(at.min()) + step
    return [float(edge) for edge in at[:, 0] / PARTS]


def _reach(told: _Told, differences: Floats, bound: float) -> Bools:
    """Whether the process against each difference ever reaches ``bound``; (2, differences), as they are."""
    d = differences[:, :, None]
    wealth = np.zeros((len(bets.STAKES), *differences.shape, 1))
    reached: Bools = np.zeros(differences.shape, dtype=np.bool_)
    for start in range(0, told.contrast.shape[1], bets.RENEWAL_UNITS):
        block = slice(start, start + bets.RENEWAL_UNITS)
        contrast, least = told.contrast[:, None, block], told.least[:, None, block]
        largest = bets.CAUTION / (least + np.maximum(d, 0.0))
        gains = np.log1p(np.minimum(_STAKES * told.scale[block], largest) * (contrast - d))
        path = wealth + np.cumsum(gains, axis=3)
        mixed = log_sum_exp(path + _LOG_WEIGHTS)
        reached |= mixed.max(axis=2) >= bound
        if reached.all():
            break
        wealth = path[..., -1:]
        if start + bets.RENEWAL_UNITS <= told.contrast.shape[1]:
            dealt = math.log(bets.RENEWAL_SHARE) + mixed[..., -1:]
            wealth = np.logaddexp(wealth + math.log1p(-bets.RENEWAL_SHARE), dealt)
    return reached
