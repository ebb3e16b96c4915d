"""Betting e-processes on the reward contrast of two arms.

Unit t comes with its logged propensity p (probability of the canary arm, fixed before the unit), its arm A in {0, 1}
and its reward Y in [0, 1]. With any centre m known before the unit,

    phi = (Y - m) * (A/p - (1-A)/(1-p))            has mean mu1 - mu0 given the past,

whatever the ramp does. Two one-sided hypotheses are bet against:

    promote   H0: mu1 - mu0 <= -margin   x =  phi + margin    stake = min(g*p*(1-p)/v, c / B-)
    rollback  H0: mu1 - mu0 >= -margin   x = -phi - margin    stake = min(g*p*(1-p)/v, c / (B+ + margin))

B- and B+ bound -phi and phi, m is the rewards' mean so far and v their predictable variance, both drawn towards a
coin's. Wealth is a weighted mean over stakes g of the product of (1 + stake * x). Under H0 wealth is a test
supermartingale: the probability that it ever reaches 1/alpha is at most alpha (Ville 1939), looked at after every
unit. Bets after Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024.

With v = m(1-m) and no cap, 1 + stake * x at margin 0 *is* the conditional likelihood ratio of a binary reward,

    f(Y; p_A) / (p*f(Y; p1) + (1-p)*f(Y; p0)),   p1 = m + (1-p)*g,  p0 = m - p*g

(multiply it out). It is linear in Y, so its mean under H0 depends on the arms' means alone and it stays valid for
graded rewards. So there is one form and nothing to choose before a rollout: v starts at m(1-m), the likelihood ratio,
stays there when the rewards are binary, and falls to their real variance within tens of units when they are graded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Direction = Literal["promote", "rollback"]

STAKES = (0.03, 0.07, 0.15, 0.22, 0.60)
"""The mixture's stakes g: small ones find small effects, large ones find large effects soon."""
STAKE_WEIGHTS = (0.06, 0.47, 0.21, 0.20, 0.06)
"""What each stake begins with. Most lies where a stake a little above the effect finds 5 to 10 points soonest (a bet
half again too large costs an eighth of the growth and brings the median forward by more). Chosen on made-up losses of
5, 10 and 20 points at shares of 10 and 50 %, for the worst ratio of a median to its bar; with .03 at each end, losses
of 3 points are found a fifth later and disasters a twentieth."""
PRIOR = " ".join(f"{g}:{w}" for g, w in zip(STAKES, STAKE_WEIGHTS, strict=True))
"""What a stored wealth was bet with: the same wealth under other weights would be evidence that nobody won."""
LOG_WEIGHTS = tuple(math.log(w) for w in STAKE_WEIGHTS)
CAUTION = 0.8
"""Share c of the largest admissible stake: wealth keeps at least 1 - c of itself in the worst unit."""
RENEWAL_UNITS, RENEWAL_SHARE = 100, 0.002
"""Every so many units this share of the whole wealth is dealt out anew over the stakes. Decided before any unit, it
leaves wealth a supermartingale. Without it the large stakes are bankrupt after some thousand equal units, and harm that
begins late is found half again as late; five times the share would find it hardly sooner and cost small effects a
twentieth (fixed share: Herbster and Warmuth, "Tracking the best expert", Machine Learning 1998)."""
LEAST_CHANCE = 1e-6
"""Chances of an arm below it are none: no rollout draws so seldom, and 1/p of the smallest floats is infinite."""
PRIOR_UNITS = 10.0
"""Units for which the coin's variance m(1-m) counts before the rewards' own takes over."""
VARIANCE_MIN, VARIANCE_MAX = 0.01, 0.25


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


class ContrastState(NamedTuple):
    """Everything the process remembers; plain floats, so JSON and back is the same bit for bit."""

    log_wealth: tuple[float, ...] = (0.0,) * len(STAKES)
    units: int = 0
    canary_units: int = 0
    sum_reward: float = 0.0
    sum_squares: float = 0.0
    """Sum of squared distances of each reward from the mean up to and including it."""
    log_e_now: float = 0.0
    max_log_e: float = 0.0
    """Largest log e-value so far; ``exp(-max_log_e)`` is the always-valid p-value."""
    refused: int = 0
    """Units that could not be bet on (propensity 0 or 1, reward not in [0, 1] or NaN)."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self._asdict(), "log_wealth": list(self.log_wealth), "stakes": PRIOR}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ContrastState:
        """Inverse of ``to_dict``.

        Raises:
            ValueError: when the stored form has other stakes or weights than this release bets with.
        """
        wealth = tuple(float(w) for w in stored["log_wealth"])
        if len(wealth) != len(STAKES):
            raise ValueError(f"expected {len(STAKES)} log-wealths, got {len(wealth)}: stored by another release")
        if stored.get("stakes") != PRIOR:
            raise ValueError(f"expected wealth on {PRIOR}, got {stored.get('stakes')}: stored by another release")
        rest: dict[str, Any] = {key: value for key, value in stored.items() if key not in ("log_wealth", "stakes")}
        return cls(log_wealth=wealth, **rest)


def at_random(propensity: float) -> bool:
    """Whether a unit was drawn at random, with odds that can be divided by. NaN is not."""
    return LEAST_CHANCE <= propensity <= 1.0 - LEAST_CHANCE


def usable(propensity: float, reward: float) -> bool:
    """Whether a unit can be bet on: drawn at random, and its reward in [0, 1]. NaN is not."""
    return at_random(propensity) and 0.0 <= reward <= 1.0


def update(state: ContrastState, spec: ContrastSpec, canary: bool, propensity: float, reward: float) -> ContrastState:
    """State after one more unit; an unusable unit is only counted."""
    if not usable(propensity, reward):
        return state._replace(refused=state.refused + 1)
    centre = (1.0 + state.sum_reward) / (state.units + 2)
    variance = (PRIOR_UNITS * centre * (1.0 - centre) + state.sum_squares) / (state.units + PRIOR_UNITS)
    variance = min(max(variance, VARIANCE_MIN), VARIANCE_MAX)
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
    log_now = log_mix_exp(wealth, LOG_WEIGHTS)
    units = state.units + 1
    if units % RENEWAL_UNITS == 0:
        wealth = renewed(wealth, log_now)
    sum_reward = state.sum_reward + reward
    return ContrastState(
        log_wealth=wealth,
        units=units,
        canary_units=state.canary_units + int(canary),
        sum_reward=sum_reward,
        sum_squares=state.sum_squares + (reward - sum_reward / units) ** 2,
        log_e_now=log_now,
        max_log_e=max(state.max_log_e, log_now),
        refused=state.refused,
    )


def renewed(wealth: Sequence[float], log_total: float) -> tuple[float, ...]:
    """Log-wealths after a share of the total is dealt out by the weights; the total stays as it is."""
    kept, dealt = math.log1p(-RENEWAL_SHARE), math.log(RENEWAL_SHARE) + log_total
    return tuple([log_mean_exp((w + kept, dealt)) + math.log(2.0) for w in wealth])


def log_e(state: ContrastState) -> float:
    """Log of the e-value now: the weighted mean of the wealths."""
    return state.log_e_now


def log_mean_exp(logs: Sequence[float]) -> float:
    """log of the mean of exp(logs), without overflow.

    >>> round(log_mean_exp([0.0, 0.0]), 6)
    0.0
    """
    top = max(logs)
    return top + math.log(sum([math.exp(x - top) for x in logs]) / len(logs))


def log_mix_exp(logs: Sequence[float], log_weights: Sequence[float]) -> float:
    """log of the sum of weight * exp(log), without overflow.

    >>> round(log_mix_exp([0.0, 0.0], [math.log(0.25), math.log(0.75)]), 6)
    0.0
    """
    terms = [x + w for x, w in zip(logs, log_weights, strict=True)]
    top = max(terms)
    return top + math.log(sum([math.exp(x - top) for x in terms]))
