"""Units and hours to each verdict, before anyone starts a canary: ``deploy.power`` as rows to show. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.traffic_rates import Rates
from deploy.power import Outlook, forecast, units_to_harm
from deploy.rollout import RolloutConfig
from deploy.rollout_config import PRESETS, Preset
from monitors.bets import VARIANCE_MAX

EFFECTS: Final = (0.02, 0.05, 0.1, 0.2)
"""Differences of mean reward to show when none is asked for: from hardly visible to plain."""
WORST_VARIANCE: Final = VARIANCE_MAX
"""Of a reward in [0, 1]: half of the thumbs up, half down."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a forecast rests on."""

    sessions_per_hour: float
    feedback_rate: float
    reward_variance: float = WORST_VARIANCE
    slice_share: float = 1.0
    """Share of sessions that the candidate can change; the rest is served as before."""
    source: str = "given"
    people: float = math.inf
    """Identities that the sessions are of; infinite: not known, and no limit."""

    @property
    def units_per_hour(self) -> float:
        """Sessions with feedback an hour, both arms."""
        return self.sessions_per_hour * self.feedback_rate

    def outlook(self, gain_in_slice: float, gain_outside: float = 0.0) -> Outlook:
        """What a candidate with these gains may expect of such traffic."""
        return Outlook(
            gain_overall=gain_in_slice * self.slice_share + gain_outside * (1.0 - self.slice_share),
            gain_in_slice=gain_in_slice,
            slice_share=self.slice_share,
            reward_variance=self.reward_variance,
            units_per_s=self.units_per_hour / 3600.0,
            sessions_per_s=self.sessions_per_hour / 3600.0,
            people=self.people,
        )


def assumed(
    sessions_per_hour: float | None, feedback_rate: float | None, slice_share: float, seen: Rates | None
) -> Assumed | None:
    """What was given, completed by recent traffic; None where traffic is needed and there is none."""
    complete = sessions_per_hour is not None and feedback_rate is not None
    if seen is None and not complete:
        return None
    variance = None if seen is None else seen.reward_variance
    return Assumed(
        sessions_per_hour if sessions_per_hour is not None else seen.sessions_per_hour if seen else 0.0,
        feedback_rate if feedback_rate is not None else seen.feedback_rate if seen else 0.0,
        WORST_VARIANCE if variance is None else min(variance, WORST_VARIANCE),
        slice_share,
        "given" if complete else "recent_traffic",
        math.inf if complete or seen is None else seen.people,
    )


def under(config: RolloutConfig, preset: Preset | None) -> RolloutConfig:
    """The policy with another preset: what its own preset did not set stays. None: as it is."""
    if preset is None:
        return config
    before = PRESETS[config.preset]
    given = {k: v for k, v in config.model_dump(exclude_unset=True).items() if k not in before or before[k] != v}
    return RolloutConfig.model_validate({**given, "preset": preset})


def power_table(basis: Assumed, effects: Sequence[float], shares: Sequence[float], config: RolloutConfig) -> Json:
    """One row for each effect and each share of the first step; numbers that are out of reach are null.

    ``config`` is what a rollout would be judged by, the yearly budget included.
    """
    rows = [
        _row(basis, effect, config.model_copy(update={"share_small": share}))
        for share in shares or (config.share_small,)
        for effect in effects or EFFECTS
    ]
    return {
        "assumed": {
            "sessions_per_hour": basis.sessions_per_hour,
            "feedback_rate": basis.feedback_rate,
            "units_per_hour": basis.units_per_hour,
            "reward_variance": basis.reward_variance,
            "slice_share": basis.slice_share,
            "people": _finite(basis.people),
            "source": basis.source,
        },
        "policy": {
            "preset": config.preset,
            "alpha": config.alpha,
            "alpha_promote": config.promotion_alpha,
            "margin_small": config.margin_small,
            "margin_half": config.margin_half,
            "share_half": config.share_half,
            "maturity_s": config.maturity_s,
            "deadline_s": config.deadline_s,
            "identity_cap": config.identity_cap,
        },
        "rows": rows,
    }


def _row(basis: Assumed, effect: float, config: RolloutConfig) -> Json:
    """A candidate that is better by ``effect`` where it can change anything, and one that is worse by as much."""
    outlook, hourly = basis.outlook(effect), basis.units_per_hour
    expected = forecast(outlook, config)
    harm, harm_half = (
        units_to_harm(outlook.gain_overall, outlook.reward_variance, share, config)
        for share in (config.share_small, config.share_half)
    )
    small = _hours(expected.units_small, hourly, (config.maturity_s + config.lateness_s) / 3600.0)
    both = (expected.seconds - expected.probation_s) / 3600.0
    return {
        "effect": effect,
        "share_small": config.share_small,
        "units_small": _finite(expected.units_small),
        "hours_small": small,
        "units_half": _finite(expected.units_half),
        "hours_half": None if small is None else _finite(max(both - small, 0.0)),
        "most_units": _finite(expected.most_units),
        "hours_promoted": _finite(expected.seconds / 3600.0) if hourly > 0.0 else None,
        "reaches_deadline": hourly > 0.0 and expected.reaches(config.deadline_s),
        "units_harm": _finite(harm),
        "hours_harm": _hours(harm, hourly, 0.0),
        "units_harm_half": _finite(harm_half),
        "hours_harm_half": _hours(harm_half, hourly, 0.0),
    }


def _hours(units: float, hourly: float, wait: float) -> float | None:
    return _finite(units / hourly + wait) if hourly > 0.0 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
