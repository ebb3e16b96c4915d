"""From an alarm to what is done about it, as a table: the first row that fits is taken, its actions tried in turn.

An action that the config leaves out, or that was taken already, is passed over with a name for it, never silently;
what is left at the end is to tell people. Nothing here starts anything: ``daemon.cycle.choose`` does, after its own
reasons to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from monitors.alarms import AlarmKind


class Action(StrEnum):
    """What can be done about drift, the cheapest first."""

    TELL = "tell"
    ASK_FOR_LABELS = "ask_for_labels"
    DEMONSTRATE = "demonstrate"  # examples in the prompt, before anything is trained
    ADAPT = "adapt"
    SECOND_PROBATION = "second_probation"  # the champion against the version before it, at random
    FREEZE = "freeze"


class Situation(StrEnum):
    """What went before the alarm."""

    USUAL = "usual"
    AFTER_PROMOTION = "after_promotion"
    AFTER_ROLLBACK = "after_rollback"
    FROZEN = "frozen"


DEMONSTRATIONS_OFF: Final = "demonstrations_off"
DEMONSTRATED: Final = MappingProxyType(
    {
        "too_few_labels": "demonstrations_too_few",
        "no_demonstrations": "demonstrations_too_few",
        "denied_version": "demonstrations_gate_stopped",
        "suspended_examples": "demonstrations_gate_stopped",
        "underpowered": "demonstrations_underpowered",
        "rollout_rolled_back": "demonstrations_not_promoted",
        "rollout_denied": "demonstrations_not_promoted",
        "rollout_inconclusive": "demonstrations_not_promoted",
    }
)
"""How a cycle ended that tried demonstrations, and the name under which they are passed over then: its alarm goes on to
the next action. ``gate_`` and any verdict of the gate but its pass is ``demonstrations_gate_stopped``."""
DEMONSTRATIONS_STOPPED: Final = "demonstrations_stopped"
"""The same for every other end, a person's or that of its champion: nothing follows for its alarm by itself."""
PASSED_OVER: Final = frozenset(
    {
        *DEMONSTRATED.values(),
        DEMONSTRATIONS_OFF,
        DEMONSTRATIONS_STOPPED,
        "labels_enough",
        "labels_satisfied",
        "labels_timed_out",
        "labels_superseded",
        "second_probation_over",
        "nothing_to_compare",
    }
)
"""Every name under which an action is passed over; docs/decisions.md says what each means."""


def demonstrated(reason: str) -> str | None:
    """The name under which demonstrations are passed over after a cycle with them ended for ``reason``; None where its
    alarm is not to go on to the next action.
    """
    if reason.startswith("gate_") and reason != "gate_passed":
        return "demonstrations_gate_stopped"
    return DEMONSTRATED.get(reason)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row; None fits everything."""

    kind: AlarmKind | None
    cause: str | None
    situation: Situation | None
    actions: tuple[Action, ...]
    reason: str
    grace: bool = False
    """Whether it waits for an input alarm, which knows the slice, before it adapts."""


POLICY: Final = (
    Rule(None, None, Situation.FROZEN, (Action.FREEZE,), "frozen_after_rollbacks"),
    Rule(AlarmKind.INPUT, None, Situation.AFTER_ROLLBACK, (Action.ASK_FOR_LABELS, Action.ADAPT), "input_drift"),
    Rule(AlarmKind.INPUT, None, None, (Action.DEMONSTRATE, Action.ADAPT), "input_drift"),
    # Known questions answered worse soon after a promotion: the version is suspected before the world is. Rewards that
    # were learned anew from its own replies cannot tell the two apart, a comparison at random can.
    Rule(
        AlarmKind.REWARD,
        "changed_answers",
        Situation.AFTER_PROMOTION,
        (Action.SECOND_PROBATION, Action.ADAPT),
        "concept_drift",
        grace=True,
    ),
    Rule(AlarmKind.REWARD, "changed_answers", None, (Action.ADAPT,), "concept_drift", grace=True),
    Rule(AlarmKind.REWARD, None, None, (Action.ADAPT,), "reward_drift", grace=True),
    Rule(
        AlarmKind.FEEDBACK,
        "changed_answers",
        Situation.AFTER_PROMOTION,
        (Action.SECOND_PROBATION, Action.ADAPT),
        "concept_drift",
        grace=True,
    ),
    Rule(AlarmKind.FEEDBACK, "changed_answers", None, (Action.ADAPT,), "concept_drift", grace=True),
    Rule(AlarmKind.FEEDBACK, None, None, (Action.ASK_FOR_LABELS, Action.TELL), "alarm_only_informs"),
    Rule(None, None, None, (Action.TELL,), "alarm_only_informs"),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """The action for an alarm, the row that it stands in, and why better ones were passed over."""

    action: Action
    rule: Rule
    passed_over: tuple[str, ...]


NOTHING: Final[Mapping[Action, str]] = MappingProxyType({})


def taken(kind: AlarmKind, cause: str, situation: Situation, passed_over: Mapping[Action, str] = NOTHING) -> Taken:
    """What to do about an alarm. The last row fits everything; ``passed_over`` are actions that are not to be taken for
    it now, and why (of ``PASSED_OVER``).
    """
    rule = next(
        r for r in POLICY if r.kind in (None, kind) and r.cause in (None, cause) and r.situation in (None, situation)
    )
    passed: list[str] = []
    for action in rule.actions:
        if action not in passed_over:
            return Taken(action, rule, tuple(passed))
        passed.append(passed_over[action])
    return Taken(Action.TELL, rule, tuple(passed))
