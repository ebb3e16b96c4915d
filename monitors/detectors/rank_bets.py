"""Bets on ranks that should be uniform: wealth grows when they pile up near one, and starts anew when it is lost.

Each bet is an e-CUSUM, log M_t = max(log M_{t-1}, 0) + log gain(u_t), with a gain whose mean is at most 1 under uniform
ranks (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monitors.features import Array

_LINEAR_BETS = (0.4, 0.8)
_LINEAR = np.array(_LINEAR_BETS)
"""Bets b: wealth times 1 + b (2u - 1)."""
_LEVELS = np.array([0.9, 0.9, 0.8, 0.8, 0.97, 0.97])
_STAKES = np.array([0.1, 0.3, 0.15, 0.4, 0.05, 0.15])
"""Bets (level, stake): wealth times 1 + stake * level / (1 - level) when u is above the level, else 1 - stake."""
_HIT = np.log1p(_STAKES * _LEVELS / (1.0 - _LEVELS))
_MISS = np.log1p(-_STAKES)
BETS = len(_LINEAR) + len(_LEVELS)


def log_gains(ranks: Array) -> Array:
    """Log of what each bet multiplies its wealth by, shape (BETS, n) for ranks of shape (n,)."""
    linear = np.log1p(_LINEAR[:, None] * (2.0 * ranks - 1.0))
    tail = np.where(ranks >= _LEVELS[:, None], _HIT[:, None], _MISS[:, None])
    return np.concatenate([linear, tail])


_TAILS = [(edge, tuple(np.where(edge >= _LEVELS, _HIT, _MISS).tolist())) for edge in sorted({0.0, *_LEVELS.tolist()})]
"""Lower edges of the ranks between which the bets on the tail all stay the same, and what those then gain."""


def one_log_gains(rank: float) -> list[float]:
    """``log_gains`` of a single rank: for events one by one, where arrays of sixteen cost more than their sums."""
    tail = next(gains for edge, gains in reversed(_TAILS) if rank >= edge)
    return [*(math.log1p(bet * (2.0 * rank - 1.0)) for bet in _LINEAR_BETS), *tail]


def one_log_mean(log_wealth: Sequence[float]) -> float:
    """``log_mean`` of one state."""
    highest = max(log_wealth)
    return highest + math.log(math.fsum(math.exp(w - highest) for w in log_wealth) / len(log_wealth))


def log_mean(log_wealth: Array) -> Array:
    """Log of the mean wealth over the bets, the first axis."""
    highest = log_wealth.max(axis=0)
    return highest + np.log(np.exp(log_wealth - highest).mean(axis=0))
