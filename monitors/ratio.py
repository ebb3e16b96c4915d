"""Sample-ratio check: do the arms come out as often as the logged propensities say?

If they do not, the assignment or the capture is broken and the rollout proves nothing: it is void. Each assigned unit
is a coin with its own known probability; wealth bets that the odds are off by one of several factors, both ways. The
mean of the likelihood ratios is an e-process whatever the ramp does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from monitors.bets import at_random, log_mean_exp
from monitors.owner import tilted

ODDS_FACTORS = (1 / 3, 1 / 2, 1 / 1.5, 1 / 1.2, 1.2, 1.5, 2.0, 3.0)
"""How the odds of the canary arm may be off."""


class SampleRatioState(NamedTuple):
    """Log-wealth for each odds factor, and the counts; JSON and back is the same bit for bit."""

    log_wealth: tuple[float, ...] = (0.0,) * len(ODDS_FACTORS)
    units: int = 0
    canary_units: int = 0
    expected_canary: float = 0.0
    """Sum of the propensities: how many canary units the log promised."""
    log_e_now: float = 0.0
    max_log_e: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self._asdict(), "log_wealth": list(self.log_wealth)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> SampleRatioState:
        """Inverse of ``to_dict``.

        Raises:
            ValueError: when the stored form bets on another number of factors than this release.
        """
        wealth = tuple(float(w) for w in stored["log_wealth"])
        if len(wealth) != len(ODDS_FACTORS):
            raise ValueError(f"expected {len(ODDS_FACTORS)} log-wealths, got {len(wealth)}: stored by another release")
        rest: dict[str, Any] = {key: value for key, value in stored.items() if key != "log_wealth"}
        return cls(log_wealth=wealth, **rest)


def update(state: SampleRatioState, canary: bool, propensity: float) -> SampleRatioState:
    """State after one more assigned unit; one with propensity 0, 1 or NaN is no draw and changes nothing."""
    if not at_random(propensity):
        return state
    wealth = tilted(state.log_wealth, ODDS_FACTORS, canary, propensity, 1.0)
    log_now = log_mean_exp(wealth)
    return SampleRatioState(
        log_wealth=wealth,
        units=state.units + 1,
        canary_units=state.canary_units + int(canary),
        expected_canary=state.expected_canary + propensity,
        log_e_now=log_now,
        max_log_e=max(state.max_log_e, log_now),
    )


def log_e(state: SampleRatioState) -> float:
    """Log of the e-value now."""
    return state.log_e_now
