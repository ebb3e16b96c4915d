"""Decisions: one active rollout, epochs that only rise, answers given once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from daemon.store import Store, alarms, commands, cycles, fences, intents, rollouts
from daemon.store.alarms import AlarmRow
from daemon.store.rollouts import Rollout, RolloutActive
from monitors.alarms import Alarm, AlarmKind, SliceModel

ROLLOUT = Rollout(
    id="r1",
    deployment="support",
    candidate="support-aaaaaaaaaaaa",
    control=None,
    cause="alarm-1",
    phase="soaking",
    active=True,
    reason="gate_passed",
    data={"share": 0.0},
    started_at=1.0,
    changed_at=1.0,
    deadline=100.0,
)
ALARM = AlarmRow("a1", "support", "input", "mewma", True, True, 5.0, {"evidence": {"share": 0.5}})


def test_the_database_refuses_a_second_active_rollout(store: Store) -> None:
    with store.begin() as tx:
        rollouts.create(tx, ROLLOUT)
        with pytest.raises(RolloutActive, match="r2 cannot start"):
            rollouts.create(tx, replace(ROLLOUT, id="r2"))
        rollouts.create(tx, replace(ROLLOUT, id="r3", deployment="other"))
        rollouts.update_phase(tx, "r1", phase="rolled_back", reason="harm", at=9.0, ended=True)
        rollouts.create(tx, replace(ROLLOUT, id="r4", started_at=10.0))
    with store.read() as read:
        ended, running = rollouts.get(read, "r1"), rollouts.active(read, "support")
        assert ended is not None and running is not None
        assert (ended.active, ended.ended_at, ended.phase, ended.data) == (False, 9.0, "rolled_back", {"share": 0.0})
        assert running.id == "r4"
        assert [r.id for r in rollouts.newest(read, "support", 5)] == ["r4", "r1"]


def test_a_phase_moves_only_what_it_names(store: Store) -> None:
    with store.begin() as tx:
        rollouts.create(tx, ROLLOUT)
        rollouts.update_phase(
            tx, "r1", phase="canary", reason="proved", at=2.0, control="support-i", data={"share": 0.1}
        )
        assert rollouts.get(tx, "r1") == replace(
            ROLLOUT, phase="canary", reason="proved", changed_at=2.0, control="support-i", data={"share": 0.1}
        )


def test_one_active_cycle_a_deployment(store: Store) -> None:
    with store.begin() as tx:
        made = cycles.create(
            tx, cycle="c1", deployment="support", cause="a1", phase="selecting", reason="alarm", data={}, at=1.0
        )
        assert cycles.active(tx, "support") == made == cycles.get(tx, "c1")
        cycles.update_phase(tx, "c1", phase="done", reason="too_few_labels", data={"n": 3}, at=2.0, active=False)
        assert cycles.active(tx, "support") is None
        again = cycles.create(
            tx, cycle="c2", deployment="support", cause="a1", phase="selecting", reason="alarm", data={}, at=3.0
        )
        assert [c.id for c in cycles.newest(tx, "support", 5)] == ["c2", "c1"]
    with pytest.raises(IntegrityError), store.begin() as tx:
        cycles.create(
            tx, cycle="c3", deployment="support", cause="a1", phase="selecting", reason="alarm", data={}, at=4.0
        )
    with store.read() as read:
        assert cycles.active(read, "support") == again


def test_epochs_only_rise(store: Store) -> None:
    with store.begin() as tx:
        assert fences.current(tx, "support") == 0
        assert fences.advance(tx, "support", holder="daemon", at=1.0) == 1
        assert fences.advance(tx, "support", holder="daemon", at=2.0, above=40) == 41
        fences.adopt(tx, "support", 7, holder="agent", at=3.0)
        assert fences.current(tx, "support") == 41
        fences.adopt(tx, "support", 50, holder="agent", at=3.0)
        assert fences.current(tx, "support") == 50
        assert fences.advance(tx, "other", holder="daemon", at=1.0) == 1


def test_an_intent_is_pending_until_it_is_settled(store: Store) -> None:
    with store.begin() as tx:
        load = intents.declare(tx, rollout="r1", effect="load", args={"replica": "a"}, reason="soak", at=1.0)
        assert intents.declare(tx, rollout="r1", effect="load", args={"replica": "a"}, reason="soak", at=2.0) == load
        other = intents.declare(tx, rollout="r1", effect="load", args={"replica": "b"}, reason="soak", at=2.0)
        assert [i.id for i in intents.pending(tx)] == [load, other]
        intents.settle(tx, load, "done", reason="loaded", at=3.0)
        assert [i.id for i in intents.pending(tx, "r1")] == [other]
        assert [(i.effect, i.state, i.settled_at) for i in intents.of_rollout(tx, "r1")] == [
            ("load", "done", 3.0),
            ("load", "pending", None),
        ]


def test_only_confirmed_primary_alarms_wait_for_an_answer(store: Store) -> None:
    informer = replace(ALARM, alarm_id="a2", primary=False)
    suspicion = replace(ALARM, alarm_id="a3", confirmed=False)
    with store.begin() as tx:
        assert alarms.insert_new(tx, [ALARM, informer, suspicion]) == {"a1", "a2", "a3"}
        assert alarms.insert_new(tx, [ALARM]) == set()
        assert [a.alarm_id for a in alarms.unanswered(tx, "support")] == ["a1"]
        alarms.answer(tx, "a1", "cycle-1")
        assert alarms.unanswered(tx, "support") == []
        assert alarms.get(tx, "a1") == replace(ALARM, answer="cycle-1", seq=1)
        assert [a.seq for a in alarms.newest(tx, "support", 2)] == [2, 3]


def test_an_alarm_comes_back_as_the_monitor_made_it(store: Store) -> None:
    made = Alarm(
        alarm_id="a9",
        deployment="support",
        kind=AlarmKind.INPUT,
        detector="mewma",
        primary=True,
        confirmed=True,
        at=3.0,
        event_index=40,
        evidence={"share": 0.1 + 0.2, "terms": ["a", "b"]},
        slice=SliceModel(buckets=16, weights={3: 0.5, 7: -1e-9}, bias=0.1, threshold=0.2),
    )
    with store.begin() as tx:
        alarms.insert_new(tx, [AlarmRow.of(made)])
        found = alarms.get(tx, "a9")
        assert found is not None and found.alarm == made


def test_commands_wait_in_order(store: Store) -> None:
    with store.begin() as tx:
        first = commands.queue(tx, "pause", {}, actor="ann", reason="holiday", at=1.0)
        second = commands.queue(tx, "adapt", {"seed": 1}, actor="ann", reason="now", at=2.0)
        assert [c.id for c in commands.queued(tx)] == [first, second]
        commands.settle(tx, first, "done", answer="paused", at=3.0)
        assert [c.verb for c in commands.queued(tx)] == ["adapt"]
        settled = commands.get(tx, first)
        assert settled is not None and (settled.state, settled.answer, settled.actor) == ("done", "paused", "ann")
