"""The e-processes of one rollout as one value: a fold over unit events, and nothing else.

Every number a verdict rests on comes from ``apply`` over the recorded ``UnitEvent`` rows in order, so a recorded
verdict can be recomputed from the ledger's units to the same e-value (``fold``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from deploy.rollout import RolloutConfig
from monitors import bets, owner, ratio


class Path(StrEnum):
    """Which evidence an event feeds."""

    ASSIGNED = "assigned"  # a new unit: the sample ratio
    PROMOTE = "promote"  # a matured unit's mean reward, in request order
    CLOSED = "closed"  # a matured unit without feedback, or beyond its identity's cap: recorded, no evidence
    HARM = "harm"  # a unit's first reward, in arrival order
    ERROR = "error"  # a unit's first server error
    LATENCY = "latency"  # a unit's first latency exceedance


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """One increment of evidence."""

    seq: int
    path: Path
    unit: int
    """Number of the unit within its rollout."""
    canary: bool
    propensity: float
    value: float
    """Reward in [0, 1] on the promote and harm paths; 1 for the others."""
    in_slice: bool
    at: float


HARM_WEIGHTS: Final[Mapping[str, float]] = MappingProxyType(
    {"harm_reward": 0.4, "harm_safety": 0.25, "harm_errors": 0.2, "harm_latency": 0.15}
)
"""Weights of the combined harm evidence; they sum to one, and a process without events counts with e = 1."""


@dataclass(frozen=True, slots=True)
class Processes:
    """State of all e-processes of a rollout."""

    non_inferior_small: bets.ContrastState = field(default_factory=bets.ContrastState)
    non_inferior_half: bets.ContrastState = field(default_factory=bets.ContrastState)
    superior_in_slice: bets.ContrastState = field(default_factory=bets.ContrastState)
    harm_reward: bets.ContrastState = field(default_factory=bets.ContrastState)
    harm_errors: owner.OwnerState = field(default_factory=owner.OwnerState)
    harm_latency: owner.OwnerState = field(default_factory=owner.OwnerState)
    sample_ratio: ratio.SampleRatioState = field(default_factory=ratio.SampleRatioState)
    matured_control: int = 0
    matured_canary: int = 0
    rewarded: int = 0
    """Units on the harm path, both arms."""
    assigned: int = 0
    reward_sums: tuple[float, float] = (0.0, 0.0)
    """Sums of matured rewards (control, canary), for display; never pooled into a decision."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``from_dict`` restores it bit for bit."""
        return {
            **{name: getattr(self, name).to_dict() for name in _STATES},
            **{name: getattr(self, name) for name in _COUNTS},
            "reward_sums": list(self.reward_sums),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Processes:
        """Inverse of ``to_dict``."""
        states: dict[str, Any] = {name: kind.from_dict(data[name]) for name, kind in _STATES.items()}
        counts: dict[str, Any] = {name: int(data[name]) for name in _COUNTS}
        control, canary = data["reward_sums"]
        return cls(**states, **counts, reward_sums=(control, canary))


_STATES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "non_inferior_small": bets.ContrastState,
        "non_inferior_half": bets.ContrastState,
        "superior_in_slice": bets.ContrastState,
        "harm_reward": bets.ContrastState,
        "harm_errors": owner.OwnerState,
        "harm_latency": owner.OwnerState,
        "sample_ratio": ratio.SampleRatioState,
    }
)
_HARM: Final = bets.ContrastSpec("rollback")
_SUPERIOR: Final = bets.ContrastSpec("promote")
_RARE: Final = owner.OwnerSpec()
_COUNTS: Final = ("matured_control", "matured_canary", "rewarded", "assigned")


def apply(state: Processes, event: UnitEvent, config: RolloutConfig) -> Processes:
    """State after one event. A value that is not finite, or a propensity of 0 or 1, changes nothing."""
    if not math.isfinite(event.value) or not 0.0 < event.propensity < 1.0:
        return state
    arm, propensity = event.canary, event.propensity
    match event.path:
        case Path.ASSIGNED:
            drawn = ratio.update(state.sample_ratio, arm, propensity)
            return replace(state, sample_ratio=drawn, assigned=state.assigned + 1)
        case Path.CLOSED:
            return state
        case Path.PROMOTE:
            return _matured(state, event, config)
        case Path.HARM:
            harm = bets.update(state.harm_reward, _HARM, arm, propensity, event.value)
            return replace(state, harm_reward=harm, rewarded=state.rewarded + 1)
        case Path.ERROR:
            return replace(state, harm_errors=owner.update(state.harm_errors, _RARE, arm, propensity))
        case Path.LATENCY:
            return replace(state, harm_latency=owner.update(state.harm_latency, _RARE, arm, propensity))


def _matured(state: Processes, event: UnitEvent, config: RolloutConfig) -> Processes:
    bet = (event.canary, event.propensity, event.value)
    small, half = (bets.ContrastSpec("promote", m) for m in (config.margin_small, config.margin_half))
    superior = state.superior_in_slice
    if event.in_slice:
        superior = bets.update(superior, _SUPERIOR, *bet)
    control, canary = state.reward_sums
    return replace(
        state,
        non_inferior_small=bets.update(state.non_inferior_small, small, *bet),
        non_inferior_half=bets.update(state.non_inferior_half, half, *bet),
        superior_in_slice=superior,
        matured_control=state.matured_control + (not event.canary),
        matured_canary=state.matured_canary + event.canary,
        reward_sums=(control, canary + event.value) if event.canary else (control + event.value, canary),
    )


def fold(events: Iterable[UnitEvent], config: RolloutConfig) -> Processes:
    """The state that a rollout's recorded events give: the recomputation of a verdict."""
    state = Processes()
    for event in events:
        state = apply(state, event, config)
    return state


def harm_e(state: Processes) -> float:
    """Weighted harm evidence Σ w_k e_k; a mean of e-processes is an e-process, so 1/alpha is its threshold."""
    values = {
        "harm_reward": bets.log_e(state.harm_reward),
        "harm_safety": 0.0,
        "harm_errors": owner.log_e(state.harm_errors),
        "harm_latency": owner.log_e(state.harm_latency),
    }
    return sum(weight * math.exp(min(values[name], 700.0)) for name, weight in HARM_WEIGHTS.items())
