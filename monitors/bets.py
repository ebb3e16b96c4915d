"""Betting e-processes on the reward contrast of two arms.

Unit t comes with its logged propensity p (probability of the canary arm, fixed before the unit), its arm A in {0, 1}
and its reward Y in [0, 1]. With any centre m known before the unit,

    phi = (Y - m) * (A/p - (1-A)/(1-p))            has mean mu1 - mu0 given the past,

whatever the ramp does. Two one-sided hypotheses are bet against:

    promote   H0: mu1 - mu0 <= -margin   x =  phi + margin    stake = min(g*p*(1-p)/v, c / B-)
    rollback  H0: mu1 - mu0 >= -margin   x = -phi - margin    stake = min(g*p*(1-p)/v, c / (B+ + margin))

B- and B+ bound -phi and phi, v is a predictable variance of the rewards, and wealth is the mean over six stakes g of
the product of (1 + stake * x). Under H0 wealth is a test supermartingale: the probability that it ever reaches 1/alpha
is at most alpha (Ville 1939), looked at after every unit. Bets after Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting", JRSS B 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Direction = Literal["promote", "rollback"]

STAKES = (0.03, 0.05, 0.08, 0.12, 0.20, 0.30)
"""The mixture's stakes g: small ones find small effects, large ones find large effects soon."""
CAUTION = 0.8
"""Share c of the largest admissible stake: wealth keeps at least 1 - c of itself in the worst unit."""
_VARIANCE_PRIOR, _VARIANCE_PRIOR_UNITS = 0.5, 10
_VARIANCE_MIN, _VARIANCE_MAX = 0.01, 0.25


@dataclass(frozen=True, slots=True)
class ContrastSpec:
    """One hypothesis: its direction and its margin (reward units, >= 0).

    For ``promote`` the margin is the non-inferiority margin (0: superiority); for ``rollback`` the harm tolerated.
    """

    direction: Direction
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.direction not in ("promote", "rollback"):
            raise ValueError(f"expected direction promote or rollback, got {self.direction!r}")
        if not 0.0 <= self.margin < 1.0:
            raise ValueError(f"expected a margin in [0, 1) reward units, got {self.margin!r}")


@dataclass(frozen=True, slots=True)
class ContrastState:
    """Everything the process remembers; plain floats, so JSON and back is the same bit for bit."""

    log_wealth: tuple[float, ...] = field(default=(0.0,) * len(STAKES))
    units: int = 0
    canary_units: int = 0
    sum_reward: float = 0.0
    sum_squares: float = 0.0
    """Sum of squared distances of each reward from the mean up to and including it."""
    max_log_e: float = 0.0
    """Largest log e-value so far; ``exp(-max_log_e)`` is the always-valid p-value."""
    refused: int = 0
    """Units that could not be bet on (propensity 0 or 1, reward not in [0, 1] or NaN)."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "log_wealth": list(self.log_wealth)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ContrastState:
        """Inverse of ``to_dict``.

        Raises:
            ValueError: when the stored form has another number of stakes than this release bets with.
        """
        wealth = tuple(float(w) for w in stored["log_wealth"])
        if len(wealth) != len(STAKES):
            raise ValueError(f"expected {len(STAKES)} log-wealths, got {len(wealth)}: stored by another release")
        rest: dict[str, Any] = {key: value for key, value in stored.items() if key != "log_wealth"}
        return cls(log_wealth=wealth, **rest)


def usable(propensity: float, reward: float) -> bool:
    """Whether a unit can be bet on: drawn at random, and its reward in [0, 1]. NaN is not."""
    return 0.0 < propensity < 1.0 and 0.0 <= reward <= 1.0


def update(state: ContrastState, spec: ContrastSpec, canary: bool, propensity: float, reward: float) -> ContrastState:
    """State after one more unit; an unusable unit is only counted."""
    if not usable(propensity, reward):
        return _replace_refused(state)
    centre = (0.5 + state.sum_reward) / (state.units + 1)
    variance = (_VARIANCE_PRIOR + state.sum_squares) / (state.units + _VARIANCE_PRIOR_UNITS)
    variance = min(max(variance, _VARIANCE_MIN), _VARIANCE_MAX)
    control = 1.0 - propensity
    contrast = (reward - centre) * (1.0 / propensity if canary else -1.0 / control)
    if spec.direction == "promote":
        gain = contrast + spec.margin
        largest = CAUTION / max(centre / propensity, (1.0 - centre) / control)
    else:
        gain = -contrast - spec.margin
        largest = CAUTION / (max((1.0 - centre) / propensity, centre / control) + spec.margin)
    scale = propensity * control / variance
    wealth = tuple(
        w + math.log1p(min(g * scale, largest) * gain) for g, w in zip(STAKES, state.log_wealth, strict=True)
    )
    units = state.units + 1
    sum_reward = state.sum_reward + reward
    return ContrastState(
        log_wealth=wealth,
        units=units,
        canary_units=state.canary_units + int(canary),
        sum_reward=sum_reward,
        sum_squares=state.sum_squares + (reward - sum_reward / units) ** 2,
        max_log_e=max(state.max_log_e, log_mean_exp(wealth)),
        refused=state.refused,
    )


def log_e(state: ContrastState) -> float:
    """Log of the e-value now: the mean of the wealths."""
    return log_mean_exp(state.log_wealth)


def p_value(state: ContrastState) -> float:
    """Always-valid p-value: 1 over the largest e-value so far."""
    return math.exp(-state.max_log_e)


def log_mean_exp(logs: Sequence[float]) -> float:
    """log of the mean of exp(logs), without overflow.

    >>> round(log_mean_exp([0.0, 0.0]), 6)
    0.0
    """
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs) / len(logs))


def _replace_refused(state: ContrastState) -> ContrastState:
    return ContrastState(
        state.log_wealth,
        state.units,
        state.canary_units,
        state.sum_reward,
        state.sum_squares,
        state.max_log_e,
        state.refused + 1,
    )
