"""One adaptation, from its cause to its end, as a table.

A cycle begins with a confirmed alarm or a person's command and ends when its rollout ends, or earlier with a named
reason: every cycle that did nothing says why. One cycle at a time per deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from deploy.rollout import Phase as RolloutPhase
from monitors.alarms import AlarmKind


class Phase(StrEnum):
    """Where a cycle is."""

    COLLECTING = "collecting"  # labels come in
    TRAINING = "training"  # the buffer is frozen, the trainer has the job
    GATING = "gating"  # the version is loaded on one replica and examined offline
    ROLLING = "rolling"  # its rollout runs
    DONE = "done"
    STOPPED = "stopped"


class Signal(StrEnum):
    """What happened."""

    ENOUGH_LABELS = "enough_labels"
    TOO_FEW_LABELS = "too_few_labels"
    TRAINED = "trained"
    TRAINING_FAILED = "training_failed"
    GATE_PASSED = "gate_passed"
    GATE_STOPPED = "gate_stopped"
    UNDERPOWERED = "underpowered"
    ROLLOUT_ENDED = "rollout_ended"
    ABORT = "abort"


OPEN: Final = (Phase.COLLECTING, Phase.TRAINING, Phase.GATING, Phase.ROLLING)

TABLE: Final[Mapping[tuple[Phase, Signal], Phase]] = MappingProxyType(
    {
        (Phase.COLLECTING, Signal.ENOUGH_LABELS): Phase.TRAINING,
        (Phase.COLLECTING, Signal.TOO_FEW_LABELS): Phase.STOPPED,
        (Phase.TRAINING, Signal.TRAINED): Phase.GATING,
        (Phase.TRAINING, Signal.TRAINING_FAILED): Phase.STOPPED,
        (Phase.GATING, Signal.GATE_PASSED): Phase.ROLLING,
        (Phase.GATING, Signal.GATE_STOPPED): Phase.STOPPED,
        (Phase.GATING, Signal.UNDERPOWERED): Phase.STOPPED,
        (Phase.ROLLING, Signal.ROLLOUT_ENDED): Phase.DONE,
        **{(p, Signal.ABORT): Phase.STOPPED for p in OPEN},
    }
)


class IllegalMove(Exception):
    """Ours: a transition that the table does not hold."""


def move(phase: Phase, signal: Signal) -> Phase:
    """The next phase. Raises IllegalMove."""
    try:
        return TABLE[phase, signal]
    except KeyError:
        raise IllegalMove(f"cycle phase {phase.value!r} does not take {signal.value!r}") from None


class CycleConfig(BaseModel):
    """When an adaptation starts, and what it waits for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_labels: Annotated[int, Field(ge=1)] = 500
    """Corrections and confirmed answers in the slice to wait for before a buffer is built; fewer teach little."""
    min_selected: Annotated[int, Field(ge=1)] = 200
    """Examples that must survive selection; below it nothing is trained."""
    label_deadline_s: Annotated[float, Field(gt=0)] = 7 * 86400.0
    """Seconds to wait for ``min_labels``. Then the cycle goes on with what there is, if ``min_selected`` of it survive
    selection, and else stops with ``too_few_labels``."""
    slice_refit_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds after which a collecting cycle learns its slice anew: an alarm is confirmed on few prompts, and what its
    slice misses is neither counted nor learnt. It is learnt once more when the buffer is built, and frozen then."""
    history_s: Annotated[float, Field(gt=0)] = 14 * 86400.0
    """Seconds of recorded exchanges that replay and hold-outs are drawn from."""
    cooldown_s: Annotated[float, Field(ge=0)] = 3600.0
    """Seconds after a cycle before the next one; doubled after a rollback for the same cause."""
    freeze_after: Annotated[int, Field(ge=1)] = 2
    """Rollbacks for one cause that freeze the deployment (no cycle starts until a person resumes it)."""
    reward_grace_s: Annotated[float, Field(ge=0)] = 120.0
    """Seconds a reward alarm waits for an input alarm, which knows the slice, before it starts a cycle itself."""
    job_lease_s: Annotated[float, Field(gt=0)] = 15.0
    """Seconds without a heartbeat after which a training job counts as lost."""
    job_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Tries of one training job before the cycle stops with ``training_failed``."""


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """A confirmed alarm that no cycle has taken up."""

    alarm_id: str
    kind: AlarmKind
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What the policy looks at before it starts a cycle."""

    alarms: tuple[OpenAlarm, ...]
    cycle_open: bool
    rollout_active: bool
    paused: bool
    may_train: bool
    """False in mode observe."""
    last_end: float | None
    rollbacks_same_cause: int


@dataclass(frozen=True, slots=True)
class Start:
    """Whether to start a cycle, for which alarm, and why (or why not)."""

    alarm_id: str | None
    reason: str


def choose(standing: Standing, config: CycleConfig, now: float) -> Start:
    """From alarms to adaptation: input drift adapts at once, reward drift after a grace; the rest only tells."""
    if not standing.alarms:
        return Start(None, "no_open_alarm")
    for blocked, reason in (
        (not standing.may_train, "mode_observe"),
        (standing.paused, "paused"),
        (standing.cycle_open, "cycle_open"),
        (standing.rollout_active, "rollout_active"),
        (standing.rollbacks_same_cause >= config.freeze_after, "frozen_after_rollbacks"),
    ):
        if blocked:
            return Start(None, reason)
    wait = config.cooldown_s * 2**standing.rollbacks_same_cause
    if standing.last_end is not None and now - standing.last_end < wait:
        return Start(None, "cooldown")
    inputs = [a for a in standing.alarms if a.kind is AlarmKind.INPUT]
    if inputs:
        return Start(min(inputs, key=lambda a: a.at).alarm_id, "input_drift")
    rewards = [a for a in standing.alarms if a.kind is AlarmKind.REWARD]
    if not rewards:
        return Start(None, "alarm_only_informs")
    oldest = min(rewards, key=lambda a: a.at)
    if now - oldest.at < config.reward_grace_s:
        return Start(None, "reward_grace")
    return Start(oldest.alarm_id, "reward_drift")


@dataclass(frozen=True, slots=True)
class Collected:
    """Labels that a collecting cycle has."""

    labels: int
    selected: int | None
    """Examples that survive selection; None while it was not tried."""
    waited_s: float


def collecting(collected: Collected, config: CycleConfig) -> tuple[Signal | None, str]:
    """Whether the labels suffice."""
    enough, late = collected.labels >= config.min_labels, collected.waited_s >= config.label_deadline_s
    if not enough and not late:
        return None, "waiting_for_labels"
    if collected.selected is None:
        return None, "selection_due"
    if collected.selected >= config.min_selected:
        return Signal.ENOUGH_LABELS, "enough_labels" if enough else "deadline_with_fewer_labels"
    return (Signal.TOO_FEW_LABELS, "too_few_labels") if late else (None, "waiting_for_labels")


def rollback_of_cause(end: RolloutPhase) -> bool:
    """Whether a rollout's end counts against its cause."""
    return end in (RolloutPhase.ROLLED_BACK, RolloutPhase.DENIED)
