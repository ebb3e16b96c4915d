"""The cycle's table and its policy: every reason to start, to wait and to stop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.cycle import (
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
from monitors.alarms import AlarmKind

CONFIG = CycleConfig(min_labels=100, min_selected=50, label_deadline_s=60.0, cooldown_s=10.0, reward_grace_s=20.0)
INPUT = OpenAlarm("a-input", AlarmKind.INPUT, 5.0)
REWARD = OpenAlarm("a-reward", AlarmKind.REWARD, 4.0)
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
    ],
)
def test_the_policy_names_why_it_starts_or_does_not(standing: Standing, alarm: str | None, reason: str) -> None:
    chosen = choose(standing, CONFIG, now=100.0)
    assert (chosen.alarm_id, chosen.reason) == (alarm, reason)


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
