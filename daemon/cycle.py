"""One adaptation, from its cause to its end, as a table.

A cycle begins with a confirmed alarm or a person's command and ends when its rollout ends, or earlier with a named
reason: every cycle that did nothing says why. One cycle at a time per deployment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from adapters.demonstrations import DemonstrationsConfig
from daemon.drift_policy import DEMONSTRATIONS_OFF, PASSED_OVER, POLICY, Action, Situation, taken
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
    PAIRS_CHOSEN = "pairs_chosen"
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
        (Phase.COLLECTING, Signal.PAIRS_CHOSEN): Phase.GATING,  # demonstrations: nothing is trained
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


BEGINS: Final[Mapping[Action, Phase]] = MappingProxyType(
    {
        Action.DEMONSTRATE: Phase.COLLECTING,
        Action.ADAPT: Phase.COLLECTING,
        Action.SECOND_PROBATION: Phase.ROLLING,
    }
)
"""Action of the policy that opens a cycle, to its first phase; a second probation has its version already."""


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
    """Rollbacks in a row that freeze the deployment: no cycle starts until a person resumes it (`homeostat resume`)."""
    reward_grace_s: Annotated[float, Field(ge=0)] = 120.0
    """Seconds a reward alarm waits for an input alarm, which knows the slice, before it starts a cycle itself."""
    promotion_watch_s: Annotated[float, Field(ge=0)] = 3600.0
    """Seconds after a promotion in which worse answers to known questions point at the new version first: it is
    compared with the one before it once more (`second_probation`)."""
    job_lease_s: Annotated[float, Field(gt=0)] = 15.0
    """Seconds without a heartbeat after which a training job counts as lost."""
    job_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Tries of one training job before the cycle stops with ``training_failed``."""
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """A confirmed alarm that no cycle has taken up."""

    alarm_id: str
    kind: AlarmKind
    at: float
    cause: str = "unknown"
    """``new_inputs``, ``changed_answers`` or ``unknown``, from the alarm's evidence."""


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
    """End of the newest cycle, or when a promoted version was left, whichever is later."""
    rollbacks_same_cause: int
    last_promoted: float | None = None
    """End of the newest cycle whose version was promoted, and was not rolled back since."""
    no_second_probation: str = ""
    """Name under which a second probation is passed over; empty where one may begin."""
    asked: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Alarms for which labels were asked: empty while the request is open, then the name of its end."""
    demonstrated: str = DEMONSTRATIONS_OFF
    """Why demonstrations are not to be tried now, of ``daemon.drift_policy.PASSED_OVER``; empty when they may be."""


@dataclass(frozen=True, slots=True)
class Start:
    """Whether to start a cycle, for which alarm, and why (or why not)."""

    alarm_id: str | None
    reason: str
    passed_over: tuple[str, ...] = ()
    """Why better actions than the one taken were not."""
    same_cause: tuple[str, ...] = ()
    """Alarms to be answered with this reason: the newest promotion was about what they saw."""
    ask: tuple[str, ...] = ()
    """Alarms for which labels are to be asked now."""
    action: Action = Action.ADAPT
    """What the cycle is for, of ``BEGINS``."""


SECOND: Final = Action.SECOND_PROBATION.value
"""Reason of a cycle that compares a promoted version with the one before it once more."""
ASKED: Final = "labels_asked"
"""Reason to wait: labels were asked for, and have not come yet."""


WAITS: Final = frozenset(
    {
        "no_open_alarm",
        "same_cause",
        "mode_observe",
        "paused",
        "cycle_open",
        "rollout_active",
        "cooldown",
        "reward_grace",
    }
)
"""Reasons of ``choose`` that are no rule's of ``daemon.drift_policy``."""
REASONS: Final = WAITS | {rule.reason for rule in POLICY} | PASSED_OVER | {ASKED, SECOND}
"""Every reason that ``choose`` can give, and every name for what it passes over."""


def choose(standing: Standing, config: CycleConfig, now: float) -> Start:
    """From alarms to a cycle, by ``daemon.drift_policy.POLICY``, with cooldown and never twice for one cause."""
    same = tuple(a.alarm_id for a in standing.alarms if _answered_by_promotion(a, standing))
    alarms = [a for a in standing.alarms if a.alarm_id not in same]
    if not alarms:
        return Start(None, "same_cause" if same else "no_open_alarm", same_cause=same)
    for blocked, reason in (
        (not standing.may_train, "mode_observe"),
        (standing.paused, "paused"),
        (standing.cycle_open, "cycle_open"),
        (standing.rollout_active, "rollout_active"),
    ):
        if blocked:
            return Start(None, reason, same_cause=same)
    found = [(a, taken(a.kind, a.cause, _situation(a, standing, config), _passed(a, standing))) for a in alarms]
    if all(t.action is Action.FREEZE for _, t in found):
        return Start(None, found[0][1].rule.reason, same_cause=same)
    asks = [a.alarm_id for a, t in found if t.action is Action.ASK_FOR_LABELS]
    ask = tuple(name for name in asks if name not in standing.asked)
    suspects = [(a, t) for a, t in found if t.action is Action.SECOND_PROBATION]
    if suspects:  # it waits for nothing: what may have to go back must not wait for a cooldown
        alarm, best = min(suspects, key=lambda pair: pair[0].at)
        return Start(alarm.alarm_id, SECOND, best.passed_over, same, ask, Action.SECOND_PROBATION)
    if now < cooled_at(standing, config):
        return Start(None, "cooldown", same_cause=same, ask=ask)
    starts = [(a, t) for a, t in found if t.action in (Action.DEMONSTRATE, Action.ADAPT)]
    if not starts:
        passed = tuple(name for _, t in found for name in t.passed_over)
        return Start(None, ASKED if asks else passed[0] if passed else "alarm_only_informs", passed, same, ask)
    alarm, best = min(starts, key=lambda pair: (pair[1].rule.grace, pair[0].at))
    if best.rule.grace and now - alarm.at < config.reward_grace_s:
        return Start(None, "reward_grace", same_cause=same, ask=ask)
    return Start(alarm.alarm_id, best.rule.reason, best.passed_over, same, action=best.action)


def cooldown_s(standing: Standing, config: CycleConfig) -> float:
    """Seconds between the last cycle and the next one."""
    return config.cooldown_s * 2**standing.rollbacks_same_cause


def cooled_at(standing: Standing, config: CycleConfig) -> float:
    """When the cooldown is over; minus infinity where nothing ended yet."""
    return -math.inf if standing.last_end is None else standing.last_end + cooldown_s(standing, config)


def _passed(alarm: OpenAlarm, standing: Standing) -> dict[Action, str]:
    """Actions that are not taken for this alarm now."""
    ended = standing.asked.get(alarm.alarm_id)
    names = {
        Action.ASK_FOR_LABELS: ended,
        Action.SECOND_PROBATION: standing.no_second_probation,
        Action.DEMONSTRATE: standing.demonstrated,
    }
    return {action: name for action, name in names.items() if name}


def _answered_by_promotion(alarm: OpenAlarm, standing: Standing) -> bool:
    """What was seen before a version was promoted is what that version was trained for.

    A drift that lasts alarms again while its cycle runs, against the same reference. With the promotion the traffic
    since the first alarm becomes the reference: another drift that began meanwhile is rare in it, and alarms anew.
    """
    return standing.last_promoted is not None and alarm.at <= standing.last_promoted


def _situation(alarm: OpenAlarm, standing: Standing, config: CycleConfig) -> Situation:
    if standing.rollbacks_same_cause >= config.freeze_after:
        return Situation.FROZEN
    if standing.rollbacks_same_cause:
        return Situation.AFTER_ROLLBACK
    promoted = standing.last_promoted
    soon = promoted is not None and alarm.at - promoted <= config.promotion_watch_s
    return Situation.AFTER_PROMOTION if soon else Situation.USUAL


@dataclass(frozen=True, slots=True)
class Collected:
    """Labels that a collecting cycle has."""

    labels: int
    selected: int | None
    """Examples that survive selection; None while it was not tried."""
    waited_s: float


def waits_for(config: CycleConfig, *, shows: bool, manual: bool) -> CycleConfig:
    """The config with the labels that a cycle waits for: few where they are only shown, any where a person asked."""
    if shows:
        few = config.demonstrations.min_examples
        return config.model_copy(update={"min_labels": few, "min_selected": few})
    return config.model_copy(update={"min_labels": 1}) if manual else config


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
