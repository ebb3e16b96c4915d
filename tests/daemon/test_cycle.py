"""The cycle's table and its policy: every reason to start, to wait and to stop."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from daemon.cycle import (
    BEGINS,
    OPEN,
    TABLE,
    Collected,
    CycleConfig,
    IllegalMove,
    OpenAlarm,
    Phase,
    Signal,
    Standing,
    choose,
    collecting,
    move,
)
from daemon.drift_policy import DEMONSTRATED, POLICY, Action, Situation, demonstrated, taken
from monitors.alarms import AlarmKind

CONFIG = CycleConfig(min_labels=100, min_selected=50, label_deadline_s=60.0, cooldown_s=10.0, reward_grace_s=20.0)
INPUT = OpenAlarm("a-input", AlarmKind.INPUT, 5.0)
REWARD = OpenAlarm("a-reward", AlarmKind.REWARD, 4.0)
CHANGED = OpenAlarm("a-changed", AlarmKind.REWARD, 6.0, "changed_answers")
FEEDBACK = OpenAlarm("a-feedback", AlarmKind.FEEDBACK, 7.0, "new_inputs")
FREE = Standing((INPUT,), False, False, False, True, None, 0)


def test_every_open_phase_can_be_aborted_and_nothing_leaves_an_ended_one() -> None:
    assert all((phase, Signal.ABORT) in TABLE for phase in OPEN)
    for phase in set(Phase) - set(OPEN):
        with pytest.raises(IllegalMove):
            move(phase, Signal.ABORT)


@pytest.mark.parametrize(
    ("standing", "alarm", "reason"),
    [
        (FREE, "a-input", "input_drift"),
        (replace(FREE, alarms=()), None, "no_open_alarm"),
        (replace(FREE, may_train=False), None, "mode_observe"),
        (replace(FREE, paused=True), None, "paused"),
        (replace(FREE, cycle_open=True), None, "cycle_open"),
        (replace(FREE, rollout_active=True), None, "rollout_active"),
        (replace(FREE, rollbacks_same_cause=2), None, "frozen_after_rollbacks"),
        (replace(FREE, last_end=95.0), None, "cooldown"),
        (replace(FREE, last_end=85.0), "a-input", "input_drift"),
        (replace(FREE, last_end=85.0, rollbacks_same_cause=1), None, "cooldown"),
        (replace(FREE, alarms=(REWARD, INPUT)), "a-input", "input_drift"),
        (replace(FREE, alarms=(REWARD,)), "a-reward", "reward_drift"),
        (replace(FREE, alarms=(replace(REWARD, at=90.0),)), None, "reward_grace"),
        (replace(FREE, alarms=(replace(INPUT, kind=AlarmKind.LATENCY),)), None, "alarm_only_informs"),
        (replace(FREE, alarms=(CHANGED,)), "a-changed", "concept_drift"),
        (replace(FREE, alarms=(CHANGED,), last_promoted=1.0), "a-changed", "second_probation"),
        (replace(FREE, alarms=(CHANGED, INPUT), last_promoted=1.0), "a-changed", "second_probation"),
        (
            replace(FREE, alarms=(replace(FEEDBACK, cause="changed_answers"), CHANGED), last_promoted=1.0),
            "a-changed",
            "second_probation",
        ),
        (
            replace(FREE, alarms=(replace(FEEDBACK, cause="changed_answers"),), last_promoted=1.0),
            "a-feedback",
            "second_probation",
        ),
        (replace(FREE, alarms=(CHANGED,), last_promoted=1.0, last_end=99.0), "a-changed", "second_probation"),
        (replace(FREE, alarms=(replace(CHANGED, at=99.0),), last_promoted=1.0), "a-changed", "second_probation"),
        (replace(FREE, alarms=(CHANGED,), last_promoted=1.0, no_second_probation="x"), "a-changed", "concept_drift"),
        (
            replace(FREE, alarms=(CHANGED,), last_promoted=1.0, last_end=99.0, no_second_probation="x"),
            None,
            "cooldown",
        ),
        (replace(FREE, alarms=(CHANGED,), last_promoted=1.0, rollbacks_same_cause=1), "a-changed", "concept_drift"),
        (replace(FREE, alarms=(CHANGED,), last_promoted=1.0, paused=True), None, "paused"),
        (replace(FREE, alarms=(REWARD,), last_promoted=1.0), "a-reward", "reward_drift"),
        (replace(FREE, alarms=(CHANGED,), last_promoted=50.0), None, "same_cause"),
        (replace(FREE, alarms=(INPUT,), last_promoted=50.0), None, "same_cause"),
        (replace(FREE, alarms=(INPUT,), last_promoted=4.0), "a-input", "input_drift"),
        (replace(FREE, alarms=(CHANGED, INPUT)), "a-input", "input_drift"),
        (replace(FREE, alarms=(FEEDBACK,)), None, "labels_asked"),
        (replace(FREE, alarms=(FEEDBACK,), asked={"a-feedback": "labels_satisfied"}), None, "labels_satisfied"),
        (replace(FREE, alarms=(FEEDBACK, REWARD)), "a-reward", "reward_drift"),
        (replace(FREE, alarms=(replace(FEEDBACK, cause="changed_answers"),)), "a-feedback", "concept_drift"),
        (replace(FREE, rollbacks_same_cause=1), None, "labels_asked"),
        (replace(FREE, rollbacks_same_cause=1, asked={"a-input": ""}), None, "labels_asked"),
        (replace(FREE, rollbacks_same_cause=1, asked={"a-input": "labels_timed_out"}), "a-input", "input_drift"),
    ],
)
def test_the_policy_names_why_it_starts_or_does_not(standing: Standing, alarm: str | None, reason: str) -> None:
    chosen = choose(standing, CONFIG, now=100.0)
    assert (chosen.alarm_id, chosen.reason) == (alarm, reason)


def test_what_is_not_there_yet_is_passed_over_by_name_and_answered_alarms_are_named() -> None:
    assert choose(FREE, CONFIG, 100.0).passed_over == ("demonstrations_off",)
    soon = replace(FREE, alarms=(CHANGED,), last_promoted=1.0)
    assert choose(soon, CONFIG, 100.0).action is Action.SECOND_PROBATION
    again = choose(replace(soon, no_second_probation="second_probation_over"), CONFIG, 100.0)
    assert (again.action, again.passed_over) == (Action.ADAPT, ("second_probation_over",))
    late = choose(replace(FREE, alarms=(replace(CHANGED, at=4000.0),), last_promoted=1.0), CONFIG, 5000.0)
    assert late.alarm_id == "a-changed" and late.passed_over == ()
    newer = replace(INPUT, at=60.0)
    mixed = choose(replace(FREE, alarms=(CHANGED, newer), last_promoted=50.0), CONFIG, 100.0)
    assert mixed.same_cause == ("a-changed",) and mixed.alarm_id == "a-input"


def test_whatever_can_open_a_cycle_has_a_phase_to_begin_with() -> None:
    opens = {action for rule in POLICY for action in rule.actions}
    assert opens - {Action.TELL, Action.ASK_FOR_LABELS, Action.FREEZE} == set(BEGINS)
    assert set(BEGINS.values()) <= set(OPEN)


def test_demonstrations_come_first_where_they_are_allowed_and_training_follows_them() -> None:
    first = choose(replace(FREE, demonstrated=""), CONFIG, 100.0)
    assert (first.alarm_id, first.action, first.passed_over) == ("a-input", Action.DEMONSTRATE, ())
    for tried in sorted(set(DEMONSTRATED.values())):
        then = choose(replace(FREE, demonstrated=tried), CONFIG, 100.0)
        assert (then.action, then.passed_over) == (Action.ADAPT, (tried,))
    changed = choose(replace(FREE, alarms=(CHANGED,), demonstrated=""), CONFIG, 100.0)
    assert changed.action is Action.ADAPT, "examples of what is right now cannot unteach what was"
    after = replace(FREE, rollbacks_same_cause=1, demonstrated="", asked={"a-input": "labels_satisfied"})
    assert choose(after, CONFIG, 100.0).action is Action.ADAPT, "not a second time after a rollback"


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("gate_new_desk_not_better", "demonstrations_gate_stopped"),
        ("gate_too_few_new", "demonstrations_gate_stopped"),
        ("gate_passed", None),
        ("underpowered", "demonstrations_underpowered"),
        ("no_demonstrations", "demonstrations_too_few"),
        ("rollout_rolled_back", "demonstrations_not_promoted"),
        ("rollout_promoted", None),
        ("rollout_aborted", None),
        ("aborted_by_person", None),
        ("champion_left", None),
    ],
)
def test_whatever_ends_demonstrations_but_people_and_promotion_leads_on(reason: str, name: str | None) -> None:
    assert demonstrated(reason) == name


def test_labels_are_asked_for_once_an_alarm_and_not_while_paused() -> None:
    after = replace(FREE, rollbacks_same_cause=1)
    assert choose(after, CONFIG, 100.0).ask == ("a-input",)
    assert choose(replace(after, last_end=95.0), CONFIG, 100.0).ask == ("a-input",), "asking waits for no cooldown"
    assert choose(replace(after, asked={"a-input": ""}), CONFIG, 100.0).ask == ()
    assert choose(replace(after, paused=True), CONFIG, 100.0).ask == ()
    late = choose(replace(after, asked={"a-input": "labels_timed_out"}), CONFIG, 100.0)
    assert late.passed_over == ("labels_timed_out",)


def test_the_policy_answers_every_alarm_and_never_with_what_is_not_there() -> None:
    causes = ("new_inputs", "changed_answers", "unknown")
    for kind, cause, situation in product(AlarmKind, causes, Situation):
        found = taken(kind, cause, situation)
        assert found.rule in POLICY
        if kind in (AlarmKind.LATENCY, AlarmKind.BEHAVIOUR) and situation is not Situation.FROZEN:
            assert found.action is Action.TELL
    assert taken(AlarmKind.INPUT, "new_inputs", Situation.FROZEN).action is Action.FREEZE


@pytest.mark.parametrize(
    ("collected", "signal", "reason"),
    [
        (Collected(99, None, 10.0), None, "waiting_for_labels"),
        (Collected(100, None, 10.0), None, "selection_due"),
        (Collected(100, 50, 10.0), Signal.ENOUGH_LABELS, "enough_labels"),
        (Collected(100, 49, 10.0), None, "waiting_for_labels"),
        (Collected(70, None, 60.0), None, "selection_due"),
        (Collected(70, 50, 60.0), Signal.ENOUGH_LABELS, "deadline_with_fewer_labels"),
        (Collected(70, 49, 60.0), Signal.TOO_FEW_LABELS, "too_few_labels"),
        (Collected(500, 49, 60.0), Signal.TOO_FEW_LABELS, "too_few_labels"),
    ],
)
def test_labels_are_waited_for_until_the_deadline(collected: Collected, signal: Signal | None, reason: str) -> None:
    assert collecting(collected, CONFIG) == (signal, reason)
