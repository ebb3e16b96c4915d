"""How long a verdict will take, before anyone starts a canary. Pure.

A betting e-process that tests a mean shift δ of a reward with variance v under propensity π grows by about
π(1−π)δ²/(2v) nats a unit (second-order expansion of the log-wealth at the best bet), so ln(1/α) nats take
2·v·ln(1/α)/(π(1−π)δ²) units; the mixture over bets costs about a sixth more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from deploy.rollout import RolloutConfig

_MIXTURE_COST: Final = 1.17


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a candidate may be expected to do, and how much feedback there is."""

    gain_overall: float
    """Expected mean reward of the candidate minus the control over all traffic."""
    gain_in_slice: float
    slice_share: float
    """Share of sessions whose first prompt lies in the slice; 1 without a slice."""
    reward_variance: float
    units_per_s: float
    """Sessions with feedback a second, both arms."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected units and seconds to promotion; infinite when the expected effect cannot pass."""

    units_small: float
    units_half: float
    seconds: float

    def reaches(self, deadline_s: float) -> bool:
        """True when the verdict is expected before the deadline."""
        return self.seconds <= deadline_s


def units_to_verdict(effect: float, variance: float, propensity: float, alpha: float) -> float:
    """Expected units until the e-value reaches 1/alpha; infinite for an effect that is not positive."""
    if effect <= 0.0:
        return math.inf
    growth = propensity * (1.0 - propensity) * effect * effect / (2.0 * max(variance, 0.01))
    return _MIXTURE_COST * math.log(1.0 / alpha) / growth


def forecast(outlook: Outlook, config: RolloutConfig) -> Forecast:
    """Units and seconds of both steps, each with its maturity window."""
    small = units_to_verdict(
        outlook.gain_overall + config.margin_small, outlook.reward_variance, config.share_small, config.alpha
    )
    in_slice = units_to_verdict(outlook.gain_in_slice, outlook.reward_variance, config.share_half, config.alpha)
    overall = units_to_verdict(
        outlook.gain_overall + config.margin_half, outlook.reward_variance, config.share_half, config.alpha
    )
    half = max(in_slice / max(outlook.slice_share, 1e-6), overall)
    rate = max(outlook.units_per_s, 1e-9)
    waits = 2.0 * (config.maturity_s + config.lateness_s)
    return Forecast(small, half, (small + half) / rate + waits)
