"""The e-processes of one rollout as one value: a fold over unit events, and nothing else.

Every number a verdict rests on comes from ``apply`` over the recorded ``UnitEvent`` rows in order, so a recorded
verdict can be recomputed from the ledger's units to the same e-value (``fold``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from deploy.guards import GUARDS, HYPOTHESES, REWARD_WEIGHT
from deploy.rollout import RolloutConfig
from deploy.unit_events import Path, UnitEvent
from monitors import bets, owner, ratio

FEEDBACK: Final = owner.OwnerSpec(2.0)
"""Rates of feedback may differ by a factor of 2, either way: a better candidate is corrected less."""


class Processes(NamedTuple):
    """State of all e-processes of a rollout. A tuple, as theirs are: it is made anew at each event."""

    non_inferior_small: bets.ContrastState = bets.ContrastState()
    non_inferior_half: bets.ContrastState = bets.ContrastState()
    superior_in_slice: bets.ContrastState = bets.ContrastState()
    harm_reward: bets.ContrastState = bets.ContrastState()
    sample_ratio: ratio.SampleRatioState = ratio.SampleRatioState()
    feedback_more: owner.OwnerState = owner.OwnerState()
    """Against: the canary's units are rated at most twice as often as the control's."""
    feedback_less: owner.OwnerState = owner.OwnerState()
    """Against: the control's units are rated at most twice as often as the canary's."""
    guards: Mapping[Path, owner.OwnerState] = MappingProxyType(dict.fromkeys(GUARDS, owner.OwnerState()))
    matured_control: int = 0
    matured_canary: int = 0
    rewarded: int = 0
    """Units on the harm path, both arms."""
    assigned: int = 0
    reward_sums: tuple[float, float] = (0.0, 0.0)
    """Sums of matured rewards (control, canary), for display; never pooled into a decision."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``from_dict`` restores it bit for bit, for state is a value. The daemon stores none: it folds
        the units' rows, which a verdict can be checked against.
        """
        return {
            **{name: getattr(self, name).to_dict() for name in _STATES},
            **{name: getattr(self, name) for name in _COUNTS},
            "guards": {path.value: state.to_dict() for path, state in self.guards.items()},
            "reward_sums": list(self.reward_sums),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Processes:
        """Inverse of ``to_dict``."""
        states: dict[str, Any] = {name: kind.from_dict(data[name]) for name, kind in _STATES.items()}
        counts: dict[str, Any] = {name: int(data[name]) for name in _COUNTS}
        guards = {path: owner.OwnerState.from_dict(data["guards"][path.value]) for path in GUARDS}
        control, canary = data["reward_sums"]
        return cls(**states, **counts, guards=guards, reward_sums=(control, canary))


_STATES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "non_inferior_small": bets.ContrastState,
        "non_inferior_half": bets.ContrastState,
        "superior_in_slice": bets.ContrastState,
        "harm_reward": bets.ContrastState,
        "sample_ratio": ratio.SampleRatioState,
        "feedback_more": owner.OwnerState,
        "feedback_less": owner.OwnerState,
    }
)
_HARM: Final = bets.ContrastSpec("rollback")
_SUPERIOR: Final = bets.ContrastSpec("promote")
_COUNTS: Final = ("matured_control", "matured_canary", "rewarded", "assigned")


def apply(state: Processes, event: UnitEvent, config: RolloutConfig) -> Processes:
    """State after one event. A value that is not finite, or a propensity of 0 or 1, changes nothing."""
    if not math.isfinite(event.value) or not bets.at_random(event.propensity):
        return state
    arm, propensity = event.canary, event.propensity
    match event.path:
        case Path.ASSIGNED:
            drawn = ratio.update(state.sample_ratio, arm, propensity)
            return state._replace(sample_ratio=drawn, assigned=state.assigned + 1)
        case Path.CLOSED:
            return state
        case Path.PROMOTE:
            return _matured(state, event, config)
        case Path.HARM:
            return state._replace(
                harm_reward=bets.update(state.harm_reward, _HARM, arm, propensity, event.value),
                feedback_more=owner.update(state.feedback_more, FEEDBACK, arm, propensity),
                feedback_less=owner.update(state.feedback_less, FEEDBACK, not arm, 1.0 - propensity),
                rewarded=state.rewarded + 1,
            )
        case _:
            guard = owner.update(state.guards[event.path], HYPOTHESES[event.path], arm, propensity)
            return state._replace(guards={**state.guards, event.path: guard})


def _matured(state: Processes, event: UnitEvent, config: RolloutConfig) -> Processes:
    bet = (event.canary, event.propensity, event.value)
    small, half = (bets.ContrastSpec("promote", m) for m in (config.margin_small, config.margin_half))
    superior = state.superior_in_slice
    if event.in_slice:
        superior = bets.update(superior, _SUPERIOR, *bet)
    control, canary = state.reward_sums
    return state._replace(
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


def harm_logs(state: Processes) -> dict[str, tuple[float, float]]:
    """(weight, log e-value) of every part of the harm evidence, by name."""
    parts = {GUARDS[path].name: (GUARDS[path].weight, owner.log_e(guard)) for path, guard in state.guards.items()}
    return {"reward": (REWARD_WEIGHT, bets.log_e(state.harm_reward)), **parts}


def weighted_e(logs: Mapping[str, tuple[float, float]]) -> float:
    """Weighted evidence of ``harm_logs``: a mean of e-processes is an e-process, so 1/alpha is its threshold."""
    return sum([weight * math.exp(min(log, 700.0)) for weight, log in logs.values()])


def feedback_log_e(state: Processes) -> float:
    """Log e-value against "the arms are rated equally often, give or take a factor of 2"."""
    return bets.log_mean_exp((owner.log_e(state.feedback_more), owner.log_e(state.feedback_less)))
