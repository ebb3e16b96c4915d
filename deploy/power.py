"""How long a verdict will take, before anyone starts a canary. Pure.

All figures are medians: about half of the rollouts of such a candidate take longer. Units to an e-value come from
``passage``; tests hold them to simulated processes and rollouts. Wealth is kept through the ramp, so what the first
step gathers counts in the second, and so do the units of the first share that mature while the second runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deploy.guards import REWARD_WEIGHT
from deploy.passage import both, chance_within, units_to_reach
from deploy.rollout_config import RolloutConfig

_HALVINGS = 12


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
    sessions_per_s: float = 0.0
    """All sessions a second: probation counts these. Not known (0): as many as are rated."""
    people: float = math.inf
    """Identities that come in the time of a rollout: each counts for ``identity_cap`` units of it."""

    @property
    def feedback_rate(self) -> float:
        """Share of sessions that are rated; 1 where only those are known."""
        return self.units_per_s / self.sessions_per_s if self.sessions_per_s > 0.0 else 1.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Median units and seconds to promotion; infinite when the expected effect cannot pass, the seconds also where it
    takes more units than the people there are may count for.
    """

    units_small: float
    """Rated units of the first step."""
    units_half: float
    """Rated units beyond these until the gain is shown."""
    seconds: float
    """From the canary's first session to the end of probation."""
    waits_s: float
    """Seconds of these that no amount of feedback shortens: until units are mature, and probation."""
    probation_s: float
    most_units: float = math.inf
    """Rated units that a rollout gets in all, however long it runs: no identity counts for more than its cap."""

    def reaches(self, deadline_s: float) -> bool:
        """True when the promotion is expected before the deadline."""
        return self.seconds <= deadline_s


def units_to_verdict(effect: float, variance: float, propensity: float, alpha: float) -> float:
    """Median units until the e-value reaches 1/alpha; infinite for an effect that is too small for any stake."""
    return units_to_reach(effect, variance, propensity, math.log(1.0 / alpha))


def units_to_harm(loss: float, variance: float, propensity: float, config: RolloutConfig) -> float:
    """Median units until rewards that are lower by ``loss`` send a candidate back that errs in nothing else: they alone
    must carry the weighted evidence, its other parts standing at 1.
    """
    alone = (config.harm_threshold - (1.0 - REWARD_WEIGHT)) / REWARD_WEIGHT
    return units_to_reach(loss, variance, propensity, math.log(alone))


def forecast(outlook: Outlook, config: RolloutConfig) -> Forecast:
    """Units and seconds to promotion through both steps and probation."""
    small, most = _first_step(outlook, config), _most_units(outlook, config)
    rate, mature_s = max(outlook.units_per_s, 1e-9), config.maturity_s + config.lateness_s
    ramp = _Ramp(small, rate, mature_s, _spread(config.share_small) / _spread(config.share_half))
    probation = _probation_s(outlook, config)
    if not math.isfinite(small):
        return Forecast(small, math.inf, math.inf, mature_s + probation, probation, most)
    half, windows = ramp.units_half(_second_step(ramp, outlook, config))
    waits = windows * mature_s + probation
    seconds = (small + half) / rate + waits if small + half <= most else math.inf
    return Forecast(small, half, seconds, waits, probation, most)


@dataclass(frozen=True, slots=True)
class _Ramp:
    """What is known of the second step's tests as time goes on. When it begins, a maturity window's units of the first
    share are on their way; where they are enough, no unit of the second share is waited for.
    """

    small: float
    """Rated units of the first step."""
    rate: float
    """Rated units a second."""
    mature_s: float
    weight: float
    """What a unit at the first share says, in units at the second."""

    @property
    def _turn_s(self) -> float:
        """Seconds until units of the second share are mature."""
        return self.small / self.rate + 2.0 * self.mature_s

    def known(self, seconds: float) -> float:
        """Mature units after ``seconds`` of the rollout, in units at the second share."""
        first = min(seconds, self._turn_s) - self.mature_s
        return self.rate * (max(first, 0.0) * self.weight + max(seconds - self._turn_s, 0.0))

    def seconds(self, known: float) -> float:
        """When so much is known; never before the second step begins."""
        first = (self.small + self.rate * self.mature_s) * self.weight
        if known <= first:
            return max(known / self.weight, self.small) / self.rate + self.mature_s
        return self._turn_s + (known - first) / self.rate

    def units_half(self, seconds: float) -> tuple[float, int]:
        """(rated units beyond those of the first step, maturity windows that pass in all)."""
        windows = 1 if seconds <= self._turn_s else 2
        return max((seconds - windows * self.mature_s) * self.rate - self.small, 0.0), windows


def _first_step(outlook: Outlook, config: RolloutConfig) -> float:
    effect = outlook.gain_overall + config.margin_small
    shown = units_to_verdict(effect, outlook.reward_variance, config.share_small, config.promotion_alpha)
    return max(shown, config.min_units_per_arm / min(config.share_small, 1.0 - config.share_small))


def _second_step(ramp: _Ramp, outlook: Outlook, config: RolloutConfig) -> float:
    """Seconds until half of the rollouts have shown both: a gain on the slice, and overall no loss. The units of the
    slice are part of all units, so the two come together the more the larger that part is.
    """
    part, log_bar = outlook.slice_share, math.log(1.0 / config.promotion_alpha)
    bets = (outlook.reward_variance, config.share_half, log_bar)
    tests = ((outlook.gain_in_slice, part), (outlook.gain_overall + config.margin_half, 1.0))

    def alone(chance: float) -> float:
        """Seconds until each test by itself is through with this chance."""
        units = [units_to_reach(effect, *bets, chance) / share if share else math.inf for effect, share in tests]
        return ramp.seconds(max(units))

    low, high = alone(0.5), alone(0.75)  # at three quarters each, both are through in half of the cases at least
    if not math.isfinite(high):
        return low
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        known = ramp.known(middle)
        chances = [chance_within(share * known, effect, *bets) for effect, share in tests]
        if both(*chances, correlation=math.sqrt(part)) < 0.5:
            low = middle
        else:
            high = middle
    return high


def _most_units(outlook: Outlook, config: RolloutConfig) -> float:
    """Rated units that so many people may give."""
    if not math.isfinite(outlook.people):
        return math.inf
    return config.identity_cap * outlook.people * outlook.feedback_rate


def _spread(share: float) -> float:
    """What a unit at this share says of a difference, up to a factor."""
    return share * (1.0 - share)


def _probation_s(outlook: Outlook, config: RolloutConfig) -> float:
    """Its units or its hours, whichever are over first; the hours need a few units to mean anything."""
    sessions = max(outlook.sessions_per_s, outlook.units_per_s, 1e-9)
    hours = max(config.probation_s, config.min_units_per_arm / sessions)
    return min(config.probation_units / sessions, hours)
