"""What the evidence of a live rollout says, as one signal with a named reason. Pure.

Fail closed to promote: no data, too few units or a number that is not finite never passes a step. Fail open to roll
back: every way back is looked at before any way forward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from deploy.evidence import Kill
from deploy.fleet import FLEET_REASONS
from deploy.guards import GUARDS
from deploy.kill_query import USER_QUERY
from deploy.processes import Processes, feedback_log_e, harm_logs, weighted_e
from deploy.rollout import LIVE, Phase, RolloutConfig, Signal
from monitors import bets, ratio


@dataclass(frozen=True, slots=True)
class Judgement:
    """A signal (None: wait), the reason, and the numbers it rests on."""

    signal: Signal | None
    reason: str
    numbers: Mapping[str, float]


HARM_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {"reward": "reward_harm", **{guard.name: guard.reason for guard in GUARDS.values()}}
)
"""Part of the harm evidence to the reason that it gives when it is the heaviest."""
SHARED_REASONS: Final = frozenset({*FLEET_REASONS, USER_QUERY})
"""Trouble that both arms share, or may: it says nothing of what the candidate learned from."""
KILL_REASONS: Final = frozenset({"consecutive_server_errors", *SHARED_REASONS})
EVIDENCE_REASONS: Final = (frozenset(HARM_REASONS.values()) | KILL_REASONS) - SHARED_REASONS
"""Reasons that speak of the candidate."""
WAIT_REASONS: Final = frozenset(
    {
        "not_live",
        "too_few_units",
        "not_yet_non_inferior",
        "not_yet_superior_in_slice",
        "in_probation",
        "too_few_units_in_probation",
        "in_second_probation",
        "too_few_units_in_second_probation",
        "awaiting_approval",
    }
)
PASS_REASONS: Final = frozenset(
    {
        "non_inferior",
        "superior_in_slice_and_non_inferior",
        "no_harm_in_probation",
        "no_harm_in_second_probation",
    }
)
VOIDS: Final[Mapping[str, str]] = MappingProxyType(
    {"sample_ratio": "sample_ratio_mismatch", "feedback_rate": "feedback_rate_differs"}
)
"""Process that voids the comparison to the reason that it gives."""
OTHER_RELEASE: Final = "evidence_of_another_release"
"""Reason for which a rollout ends that met users under a release with other stakes. Its units folded anew would be a
second chance at the same level: wrong verdicts would be as likely as alpha twice.
"""
VOID_REASONS: Final = frozenset((*VOIDS.values(), OTHER_RELEASE))
PROMOTING: Final = frozenset({"non_inferior_small", "non_inferior_half", "superior_in_slice"})
"""Processes that lead a step up; the others lead back or void."""
REASONS: Final = frozenset((*HARM_REASONS.values(), *VOIDS.values())) | KILL_REASONS | WAIT_REASONS | PASS_REASONS
"""Every reason that ``judge`` can give; docs/decisions.md says what each means."""


def needs(process: str, config: RolloutConfig) -> float:
    """E-value at which a process decides; ``process`` is its name in ``numbers`` without the ``e_``."""
    if process in VOIDS:
        return config.void_threshold
    return config.promote_threshold if process in PROMOTING else config.harm_threshold


def suspends(end: Phase, reason: str) -> bool:
    """Whether the end of a rollout keeps the new examples of its candidate out of later training."""
    return end is Phase.ROLLED_BACK and reason in EVIDENCE_REASONS


def numbers(state: Processes) -> dict[str, float]:
    """Every e-value and count of the evidence, by name; what the ledger records beside a verdict."""
    control, canary = state.reward_sums
    harm = harm_logs(state)
    return {
        "e_non_inferior_small": _e(bets.log_e(state.non_inferior_small)),
        "e_non_inferior_half": _e(bets.log_e(state.non_inferior_half)),
        "e_superior_in_slice": _e(bets.log_e(state.superior_in_slice)),
        **{f"e_harm_{name}": _e(log) for name, (_, log) in harm.items()},
        "e_harm": weighted_e(harm),
        **{f"e_{name}": _e(log) for name, log in _void_logs(state).items()},
        "units": float(state.assigned),
        "units_rewarded": float(state.rewarded),
        "units_matured_control": float(state.matured_control),
        "units_matured_canary": float(state.matured_canary),
        "mean_reward_control": control / state.matured_control if state.matured_control else math.nan,
        "mean_reward_canary": canary / state.matured_canary if state.matured_canary else math.nan,
    }


def judge(
    phase: Phase, state: Processes, kill: Kill, config: RolloutConfig, units_in_phase: int, seconds_in_phase: float
) -> Judgement:
    """The signal of the evidence in a live phase; ``units_in_phase`` counts units assigned since the phase began."""
    seen = numbers(state)
    if phase not in LIVE:
        return Judgement(None, "not_live", seen)
    back = _way_back(state, seen, kill, config)
    if back is not None:
        return Judgement(*back, seen)
    match phase:
        case Phase.CANARY_SMALL:
            return Judgement(*_first_step(state, seen, config), seen)
        case Phase.CANARY_HALF:
            return Judgement(*_second_step(state, seen, config), seen)
        case Phase.PROBATION:
            return Judgement(*_probation(units_in_phase, seconds_in_phase, config), seen)
        case Phase.SECOND_PROBATION:
            return Judgement(*_second_probation(state, seconds_in_phase, config), seen)
        case _:
            return Judgement(None, "awaiting_approval", seen)


def _e(log_value: float) -> float:
    return math.exp(min(log_value, 700.0))


def _way_back(
    state: Processes, seen: Mapping[str, float], kill: Kill, config: RolloutConfig
) -> tuple[Signal, str] | None:
    if kill.consecutive >= config.kill_errors and len(kill.sessions) >= config.kill_sessions:
        return Signal.KILL_SWITCH, "consecutive_server_errors"
    if kill.fleet:
        return Signal.KILL_SWITCH, kill.fleet
    if kill.query:
        return Signal.KILL_SWITCH, USER_QUERY
    if seen["e_harm"] >= needs("harm", config):
        logs = {name: math.log(weight) + log for name, (weight, log) in harm_logs(state).items()}
        return Signal.HARM, HARM_REASONS[max(logs, key=lambda name: logs[name])]
    for process, reason in VOIDS.items():
        if seen[f"e_{process}"] >= needs(process, config):
            return Signal.VOID, reason
    return None


def _void_logs(state: Processes) -> dict[str, float]:
    """Log e-value of each process of ``VOIDS``, in the order in which they are looked at."""
    return {"sample_ratio": ratio.log_e(state.sample_ratio), "feedback_rate": feedback_log_e(state)}


def _first_step(state: Processes, seen: Mapping[str, float], config: RolloutConfig) -> tuple[Signal | None, str]:
    if min(state.matured_control, state.matured_canary) < config.min_units_per_arm:
        return None, "too_few_units"
    if not seen["e_non_inferior_small"] >= needs("non_inferior_small", config):
        return None, "not_yet_non_inferior"
    return Signal.STEP_PASSED, "non_inferior"


def _second_step(state: Processes, seen: Mapping[str, float], config: RolloutConfig) -> tuple[Signal | None, str]:
    if min(state.matured_control, state.matured_canary) < config.min_units_per_arm:
        return None, "too_few_units"
    if not seen["e_superior_in_slice"] >= needs("superior_in_slice", config):
        return None, "not_yet_superior_in_slice"
    if not seen["e_non_inferior_half"] >= needs("non_inferior_half", config):
        return None, "not_yet_non_inferior"
    return Signal.STEP_PASSED, "superior_in_slice_and_non_inferior"


def _probation(units: int, seconds: float, config: RolloutConfig) -> tuple[Signal | None, str]:
    """Time alone promotes nobody: no harm among nobody is missing data."""
    if units >= config.probation_units:
        return Signal.NO_HARM, "no_harm_in_probation"
    if seconds < config.probation_s:
        return None, "in_probation"
    if units < config.min_units_per_arm:
        return None, "too_few_units_in_probation"
    return Signal.NO_HARM, "no_harm_in_probation"


def _second_probation(state: Processes, seconds: float, config: RolloutConfig) -> tuple[Signal | None, str]:
    """Only rated units count: it was begun because of their rewards, and nothing was seen of them before."""
    if min(state.matured_control, state.matured_canary) < config.min_units_per_arm:
        late = seconds >= config.probation_s
        return None, "too_few_units_in_second_probation" if late else "in_second_probation"
    if state.rewarded >= config.probation_units or seconds >= config.probation_s:
        return Signal.NO_HARM, "no_harm_in_second_probation"
    return None, "in_second_probation"
