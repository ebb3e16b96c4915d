"""The e-processes of ``bets``, ``owner`` and ``ratio`` for many runs at once: the same arithmetic on numpy rows.

Simulations need thousands of runs; a test holds each row to the scalar process, unit by unit. Nothing here decides
anything in production. Arrays are changed in place.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from monitors import bets, owner, ratio

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ManyContrasts:
    """``bets.update`` for ``runs`` independent processes of one hypothesis. Shapes: (runs,), wealth (stakes, runs)."""

    def __init__(self, runs: int, spec: bets.ContrastSpec) -> None:
        self.spec = spec
        self.log_wealth: Floats = np.zeros((len(bets.STAKES), runs))
        self.units: Floats = np.zeros(runs)
        self.sum_reward: Floats = np.zeros(runs)
        self.sum_squares: Floats = np.zeros(runs)
        self._stakes = np.array(bets.STAKES)[:, None]
        self._weights = np.array(bets.LOG_WEIGHTS)[:, None]

    def update(self, canary: Bools, propensity: Floats, reward: Floats, take: Bools | None = None) -> None:
        """One more unit in each run, or in those of ``take``; every propensity in (0, 1), every reward in [0, 1]."""
        centre = (1.0 + self.sum_reward) / (self.units + 2.0)
        spread = bets.PRIOR_UNITS * centre * (1.0 - centre) + self.sum_squares
        variance = np.clip(spread / (self.units + bets.PRIOR_UNITS), bets.VARIANCE_MIN, bets.VARIANCE_MAX)
        control = 1.0 - propensity
        contrast = (reward - centre) * np.where(canary, 1.0 / propensity, -1.0 / control)
        margin = self.spec.margin
        if self.spec.direction == "promote":
            gain = contrast + margin
            largest = bets.CAUTION / np.maximum(centre / propensity, (1.0 - centre) / control)
        else:
            gain = -contrast - margin
            largest = bets.CAUTION / (np.maximum((1.0 - centre) / propensity, centre / control) + margin)
        stakes = np.minimum(self._stakes * (propensity * control / variance), largest)
        if take is not None:
            gain = np.where(take, gain, 0.0)
        self.log_wealth += np.log1p(stakes * gain)
        self._renew(take)
        one = 1.0 if take is None else take.astype(np.float64)
        self.units += one
        self.sum_reward += reward * one
        self.sum_squares += (reward - self.sum_reward / np.maximum(self.units, 1.0)) ** 2 * one

    def _renew(self, take: Bools | None) -> None:
        due = (self.units + 1.0) % bets.RENEWAL_UNITS == 0.0
        due = due if take is None else due & take
        if due.any():
            dealt = math.log(bets.RENEWAL_SHARE) + self.log_e()[due]
            self.log_wealth[:, due] = np.logaddexp(self.log_wealth[:, due] + math.log1p(-bets.RENEWAL_SHARE), dealt)

    def log_e(self) -> Floats:
        """Log e-value of each run."""
        return log_sum_exp(self.log_wealth + self._weights)

    def keep(self, rows: Bools) -> None:
        """Forget the other runs."""
        self.log_wealth = self.log_wealth[:, rows]
        self.units, self.sum_reward = self.units[rows], self.sum_reward[rows]
        self.sum_squares = self.sum_squares[rows]


class ManyDraws:
    """``owner.update`` (or ``ratio.update``) for ``runs`` independent processes. Shapes as above."""

    def __init__(
        self, runs: int, multipliers: tuple[float, ...], log_weights: tuple[float, ...], tolerated: float = 1.0
    ) -> None:
        self.log_wealth: Floats = np.zeros((len(multipliers), runs))
        self._multipliers = np.array(multipliers)[:, None]
        self._weights = np.array(log_weights)[:, None]
        self._tolerated = tolerated

    @classmethod
    def owners(cls, runs: int, spec: owner.OwnerSpec) -> ManyDraws:
        """Whose is the next event?"""
        return cls(runs, owner.EXCESS, owner.LOG_WEIGHTS, spec.ratio)

    @classmethod
    def sample_ratios(cls, runs: int) -> ManyDraws:
        """Do the arms come out as promised?"""
        count = len(ratio.ODDS_FACTORS)
        return cls(runs, ratio.ODDS_FACTORS, (-math.log(count),) * count)

    def update(self, canary: Bools, propensity: Floats, take: Bools | None = None) -> None:
        """One more draw in each run, or in those of ``take``; every propensity in (0, 1)."""
        odds = propensity * self._tolerated / (1.0 - propensity)
        null = odds / (1.0 + odds)
        tilted = odds * self._multipliers
        tilt = tilted / (1.0 + tilted)
        moved = np.log(np.where(canary, tilt / null, (1.0 - tilt) / (1.0 - null)))
        self.log_wealth += moved if take is None else np.where(take, moved, 0.0)

    def log_e(self) -> Floats:
        """Log e-value of each run."""
        return log_sum_exp(self.log_wealth + self._weights)

    def keep(self, rows: Bools) -> None:
        """Forget the other runs."""
        self.log_wealth = self.log_wealth[:, rows]


def log_sum_exp(logs: Floats) -> Floats:
    """log of the sum of exp over the first axis, without overflow."""
    top = logs.max(axis=0)
    return top + np.log(np.exp(logs - top).sum(axis=0))
