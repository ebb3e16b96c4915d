"""Whose is the next event? An e-process for rare events (errors, refusals, slow replies) in two arms.

Only the events are looked at. If the canary's rate is at most ``ratio`` times the control's, an event belongs to the
canary with probability at most theta0 = p*ratio / (p*ratio + 1-p), p the propensity of its unit. Wealth bets on larger
rate ratios (rho times the tolerated one) and is a weighted mean over rho of the likelihood ratios: an e-process (Lindon
and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, in conditional binomial form).

The caller hands in at most the first event of its kind per session and per identity: errors clump in sticky arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from monitors.bets import at_random, log_mix_exp

EXCESS = (2.0, 3.5, 6.0)
"""Rate ratios above the tolerated one that are bet on; in between and beyond, the nearest one earns."""
EXCESS_WEIGHTS = (0.25, 0.45, 0.30)
"""What each ratio begins with: most where latency half as long again (3.3) and errors five times as often lie."""
LOG_WEIGHTS = tuple(math.log(w) for w in EXCESS_WEIGHTS)


@dataclass(frozen=True, slots=True)
class OwnerSpec:
    """H0: the canary's rate is at most ``ratio`` times the control's."""

    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < math.inf:
            raise ValueError(f"expected a finite rate ratio above 0, got {self.ratio!r}")


class OwnerState(NamedTuple):
    """Log-wealth for each excess ratio, and the counts; JSON and back is the same bit for bit."""

    log_wealth: tuple[float, ...] = (0.0,) * len(EXCESS)
    events: int = 0
    canary_events: int = 0
    log_e_now: float = 0.0
    max_log_e: float = 0.0
    refused: int = 0
    """Events whose unit was not drawn at random (propensity 0 or 1, or NaN)."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self._asdict(), "log_wealth": list(self.log_wealth)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> OwnerState:
        """Inverse of ``to_dict``.

        Raises:
            ValueError: when the stored form bets on another number of ratios than this release.
        """
        wealth = tuple(float(w) for w in stored["log_wealth"])
        if len(wealth) != len(EXCESS):
            raise ValueError(f"expected {len(EXCESS)} log-wealths, got {len(wealth)}: stored by another release")
        rest: dict[str, Any] = {key: value for key, value in stored.items() if key != "log_wealth"}
        return cls(log_wealth=wealth, **rest)


def update(state: OwnerState, spec: OwnerSpec, canary: bool, propensity: float) -> OwnerState:
    """State after one more event; one that was not drawn at random is only counted."""
    if not at_random(propensity):
        return state._replace(refused=state.refused + 1)
    wealth = tilted(state.log_wealth, EXCESS, canary, propensity, spec.ratio)
    log_now = log_mix_exp(wealth, LOG_WEIGHTS)
    return OwnerState(
        log_wealth=wealth,
        events=state.events + 1,
        canary_events=state.canary_events + int(canary),
        log_e_now=log_now,
        max_log_e=max(state.max_log_e, log_now),
        refused=state.refused,
    )


def log_e(state: OwnerState) -> float:
    """Log of the e-value now."""
    return state.log_e_now


def tilted(
    logs: Sequence[float], multipliers: tuple[float, ...], canary: bool, propensity: float, ratio: float
) -> tuple[float, ...]:
    """Log-wealths after a draw: null odds ``ratio * p/(1-p)`` against those odds times each of ``multipliers``."""
    return tuple([w + x for w, x in zip(logs, increments(multipliers, canary, propensity, ratio), strict=True)])


@lru_cache(maxsize=1024)
def increments(multipliers: tuple[float, ...], canary: bool, propensity: float, ratio: float) -> tuple[float, ...]:
    """What a draw adds to each log-wealth. A rollout has few propensities, so these are worked out once."""
    odds = propensity * ratio / (1.0 - propensity)
    null = odds / (1.0 + odds)
    moved: list[float] = []
    for multiplier in multipliers:
        tilt = odds * multiplier / (1.0 + odds * multiplier)
        moved.append(math.log(tilt / null) if canary else math.log((1.0 - tilt) / (1.0 - null)))
    return tuple(moved)
