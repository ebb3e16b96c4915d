"""How long a verdict will take, before anyone starts a canary. Pure.

A betting e-process that tests a mean shift δ of a reward with variance v under propensity π grows by about
π(1−π)δ²/(2v) nats a unit (second-order expansion of the log-wealth at the best bet), so ln(1/α) nats take
2·v·ln(1/α)/(π(1−π)δ²) units; the mixture over bets costs about a sixth more. A test holds this to simulated medians:
within a quarter for effects of 5 to 30 points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from deploy.guards import REWARD_WEIGHT
from deploy.rollout_config import RolloutConfig

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
    alpha = config.promotion_alpha
    gain, variance = outlook.gain_overall, outlook.reward_variance
    small = max(
        units_to_verdict(gain + config.margin_small, variance, config.share_small, alpha),
        config.min_units_per_arm / min(config.share_small, 1.0 - config.share_small),
    )
    in_slice = units_to_verdict(outlook.gain_in_slice, variance, config.share_half, alpha)
    overall = units_to_verdict(gain + config.margin_half, variance, config.share_half, alpha)
    half = max(in_slice / max(outlook.slice_share, 1e-6), overall)
    rate = max(outlook.units_per_s, 1e-9)
    waits = 2.0 * (config.maturity_s + config.lateness_s)
    return Forecast(small, half, (small + half) / rate + waits)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an operator knows before a rollout."""

    sessions_per_hour: float
    feedback: float
    """Share of sessions that are rated."""
    effect: float
    """Mean reward of the candidate minus the control's, over all traffic; negative: a loss to be found."""
    effect_in_slice: float | None = None
    """None: as over all."""
    slice_share: float = 1.0
    variance: float = 0.25
    """Of a reward; a thumb's is at most .25, a judge's score has .04 or so."""


@dataclass(frozen=True, slots=True)
class Expected:
    """When a verdict may be expected: units with feedback (both arms), hours, and whether the deadline comes first."""

    verdict: str
    """``harm_small``, ``harm_half``, ``first_step`` or ``promotion``."""
    units: float
    hours: float
    underpowered: bool


def expected_verdicts(traffic: Traffic, config: RolloutConfig) -> tuple[Expected, ...]:
    """What such a candidate may expect of such traffic; infinite units where the verdict would be wrong."""
    rate = max(traffic.sessions_per_hour * traffic.feedback / 3600.0, 1e-9)
    in_slice = traffic.effect if traffic.effect_in_slice is None else traffic.effect_in_slice
    outlook = Outlook(traffic.effect, in_slice, traffic.slice_share, traffic.variance, rate)
    found = forecast(outlook, config)
    wait = config.maturity_s + config.lateness_s
    # rewards alone must carry the weighted harm evidence, the other parts standing at 1
    alone = REWARD_WEIGHT / (config.harm_threshold - (1.0 - REWARD_WEIGHT))
    harm = [
        (f"harm_{step}", units_to_verdict(-traffic.effect, traffic.variance, share, alone), 0.0)
        for step, share in (("small", config.share_small), ("half", config.share_half))
    ]
    steps = [("first_step", found.units_small, wait), ("promotion", found.units_small + found.units_half, 2.0 * wait)]
    return tuple(
        Expected(name, units, (units / rate + wait_s) / 3600.0, units / rate + wait_s > config.deadline_s)
        for name, units, wait_s in (*harm, *steps)
    )
