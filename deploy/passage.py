"""How many units an e-process of ``monitors.bets`` takes to its threshold, computed and not played. Pure.

A unit under propensity π carries π(1−π)/v of *information* about a difference of means, v being the variance of
rewards. After information t, a stake g has wealth of about exp(g·S − g²·t/2), where S is a Brownian motion whose drift
is the effect. So the mixture of stakes reaches its threshold when S first crosses a curve that is known beforehand, and
nothing here is fitted: other stakes in ``bets`` give another curve. Two corrections: units come one at a time and
overshoot the curve (Siegmund, "Sequential Analysis", 1985, ch. X: .583 of a step's standard deviation), and the
renewal of wealth moves its threshold away a little with each unit.

The chance to cross a straight line in time is known (Bachelier and Lévy). The curve is concave, since the log of the
mixture is convex in (S, t): each tangent lies above it, and the largest chance over a few of them is nearly its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple

from monitors.bets import CAUTION, LOG_WEIGHTS, RENEWAL_SHARE, RENEWAL_UNITS, STAKES, VARIANCE_MAX, VARIANCE_MIN

_OVERSHOOT: Final = 0.583
_TOUCHES: Final = (0.2, 0.35, 0.5, 0.7, 1.0)
"""Where the tangents touch the curve, as shares of the time that is asked about; more of them change half a percent."""
_SOONEST: Final = 0.05
_LATEST: Final = 100.0
"""The search is between these multiples of the log threshold over the squared effect. Beyond the latter it ends: an
effect below half of the smallest stake makes no stake grow, and is found by luck alone."""
_HALVINGS: Final = 16
_PIECES: Final = 16
"""Of the integral over the correlation: it is right to a thousandth up to .95."""
_phi: Final = NormalDist().cdf
_quantile: Final = NormalDist().inv_cdf


class _Curve(NamedTuple):
    """Where the mixture of bets reaches its threshold."""

    stakes: Sequence[float]
    log_bar: float
    renewal: float
    """Rise of the log threshold per information."""
    overshoot: float


@lru_cache(maxsize=1024)
def units_to_reach(effect: float, variance: float, propensity: float, log_bar: float, chance: float = 0.5) -> float:
    """Units (both arms) within which a share ``chance`` of all processes has reached the log e-value ``log_bar``.

    ``effect`` is the difference of mean rewards plus the margin, in favour of what is to be shown; the units are
    infinite where it is not positive, or so small that no stake grows by it. Rewards are taken to lie around one half
    where the largest admissible stake depends on it.
    """
    if effect <= 0.0 or not 0.0 < propensity < 1.0:
        return math.inf
    information, curve = _curve_of(variance, propensity, log_bar)
    low, high = (times * log_bar / effect**2 for times in (_SOONEST, _LATEST))
    if _crossed(high, effect, curve) < chance:
        return math.inf
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        if _crossed(middle, effect, curve) < chance:
            low = middle
        else:
            high = middle
    return max(high / information, 1.0)


@lru_cache(maxsize=4096)
def chance_within(units: float, effect: float, variance: float, propensity: float, log_bar: float) -> float:
    """Chance that a process reaches the log e-value ``log_bar`` within so many units; see ``units_to_reach``."""
    if effect <= 0.0 or units <= 0.0 or not 0.0 < propensity < 1.0:
        return 0.0
    information, curve = _curve_of(variance, propensity, log_bar)
    return min(max(_crossed(units * information, effect, curve), 0.0), 1.0)


def both(p: float, q: float, correlation: float) -> float:
    """Chance of two events of chances ``p`` and ``q`` that come of motions with this correlation, from 0 to 1.

    The normal copula, by Plackett's integral over the correlation (Biometrika 1954).
    """
    if not (0.0 < p < 1.0 and 0.0 < q < 1.0 and correlation < 1.0):
        return p * q if p in (0.0, 1.0) or q in (0.0, 1.0) else min(p, q)
    a, b = _quantile(p), _quantile(q)
    width, total = correlation / _PIECES, 0.0
    for piece in range(_PIECES):
        r = width * (piece + 0.5)
        rest = 1.0 - r * r
        total += math.exp((2.0 * r * a * b - a * a - b * b) / (2.0 * rest)) / math.sqrt(rest)
    return p * q + total * width / (2.0 * math.pi)


def _curve_of(variance: float, propensity: float, log_bar: float) -> tuple[float, _Curve]:
    """(information of a unit, the curve)."""
    variance = min(max(variance, VARIANCE_MIN), VARIANCE_MAX)
    information = propensity * (1.0 - propensity) / variance
    largest = 2.0 * CAUTION * min(propensity, 1.0 - propensity) / information
    curve = _Curve(
        tuple(min(g, largest) for g in STAKES),
        log_bar,
        RENEWAL_SHARE / RENEWAL_UNITS / information,
        _OVERSHOOT * math.sqrt(information),
    )
    return information, curve


def _crossed(time: float, drift: float, curve: _Curve) -> float:
    """Chance (a lower bound) that the motion has crossed the curve by ``time``, in information."""
    return max(_crossed_line(time, drift, *_tangent(share * time, curve)) for share in _TOUCHES)


def _crossed_line(time: float, drift: float, height: float, slope: float) -> float:
    """Chance that a Brownian motion with a drift has crossed the line ``height + slope * t`` by ``time``."""
    away, root = slope - drift, math.sqrt(time)
    reflected = math.exp(min(-2.0 * height * away, 700.0)) * _phi((away * time - height) / root)
    return _phi(-(height + away * time) / root) + reflected


def _tangent(time: float, curve: _Curve) -> tuple[float, float]:
    """(height at 0, slope) of the tangent at ``time``. Newton's method from above: a convex function converges."""
    bar = curve.log_bar + curve.renewal * time
    pairs = list(zip(curve.stakes, LOG_WEIGHTS, strict=True))
    score = min((bar - log_weight) / g + g * time / 2.0 for g, log_weight in pairs)
    while True:
        logs = [log_weight + g * score - g * g * time / 2.0 for g, log_weight in pairs]
        top = max(logs)
        wealth = [math.exp(x - top) for x in logs]
        total = sum(wealth)
        rises = sum([w * g for w, (g, _) in zip(wealth, pairs, strict=True)]) / total
        above = (top + math.log(total) - bar) / rises
        score -= above
        if above <= 1e-9 * score:
            falls = sum([w * g * g for w, (g, _) in zip(wealth, pairs, strict=True)]) / total / 2.0
            slope = (falls + curve.renewal) / rises
            return score - slope * time + curve.overshoot, slope
