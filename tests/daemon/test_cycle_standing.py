"""What ``why`` says of an alarm is what the controller does about it: both look at one standing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from daemon import controller, freeze
from daemon.config import Config
from daemon.cycle import REASONS, OpenAlarm, Standing, choose
from daemon.cycle_standing import PAUSED, standing_now
from daemon.drift_policy import DEMONSTRATED, DEMONSTRATIONS_STOPPED, POLICY, Action
from daemon.explain import alarms as told_alarms
from daemon.explain import cycles as told_cycles
from daemon.explain.explanation import Explanation
from daemon.label_requests import ENDS
from daemon.store import Store, Tx, alarms, cycles, denials, jobs, rollouts, states
from deploy.power import Outlook
from deploy.rollout import Phase, RolloutConfig
from monitors.alarms import AlarmKind
from tests.daemon.learning_shell import learning

NOW = 100_000.0
CONFIG = Config.model_validate(
    {
        "home": "/nonexistent",
        "mode": "auto",
        "deployment": {"name": "support", "base_dir": "base"},
        "agent": {"replicas": [{"name": "replica-0", "url": "http://127.0.0.1:1"}]},
        "cycle": {"cooldown_s": 1000.0},
    }
)
OUTLOOK = Outlook(0.5, 0.5, 1.0, 0.1, 10.0)


def alarm(tx: Tx, name: str, kind: str, cause: str = "", at: float = NOW - 5000.0, **evidence: Any) -> None:
    body = {"evidence": {**({"cause": cause} if cause else {}), **evidence}, "slice": None}
    row = alarms.AlarmRow(name, "support", kind, "e_sr", True, True, at, body)
    alarms.insert_new(tx, [row])


def ended(tx: Tx, number: int, phase: Phase, at: float, cause: str = "a0") -> None:
    """A cycle that ended with its rollout."""
    config = {"config": RolloutConfig().model_dump(mode="json")}
    names = (f"r{number}", "support", "support-bbbbbbbbbbbb", None, cause, phase.value, False, "test")
    rollouts.create(tx, rollouts.Rollout(*names, config, at, at, at, at))
    data = {"rollout": f"r{number}"}
    row: dict[str, Any] = {"cycle": f"c{number}", "cause": cause, "phase": "rolling", "reason": "gate_passed"}
    cycles.create(tx, deployment="support", data=data, at=at, **row)
    cycles.update_phase(tx, f"c{number}", phase="done", reason="test", data=data, at=at, active=False)


def why(store: Store, name: str, now: float = NOW) -> tuple[str, Explanation]:
    """The reason that ``why`` goes by, and all that it says."""
    with store.read() as read:
        row = alarms.get(read, name)
        assert row is not None
        return told_alarms.looked_at(read, row, CONFIG, now)[1].reason, told_alarms.explain(read, row, CONFIG, now)


def cycle_told(store: Store, name: str) -> Explanation:
    with store.read() as read:
        row = cycles.get(read, name)
        assert row is not None
        return told_cycles.explain(read, row, CONFIG, NOW, lambda _row: 0)


def done(store: Store, paused: bool = False, now: float = NOW) -> str | None:
    """Reason of the cycle that the controller opens now; None where it opens none."""
    learning(store, CONFIG, OUTLOOK, now).tick(None, paused, False)
    with store.read() as read:
        active = cycles.active(read, "support")
    return None if active is None else active.reason


@pytest.mark.parametrize(
    ("kind", "cause", "reason", "starts"),
    [
        ("feedback", "changed_answers", "concept_drift", True),
        ("feedback", "new_inputs", "labels_asked", False),
        ("reward", "changed_answers", "concept_drift", True),
        ("reward", "", "reward_drift", True),
        ("input", "new_inputs", "input_drift", True),
    ],
)
def test_the_cause_decides_for_both(store: Store, kind: str, cause: str, reason: str, starts: bool) -> None:
    with store.begin() as tx:
        alarm(tx, "a1", kind, cause)
    assert why(store, "a1")[0] == reason
    assert done(store) == (reason if starts else None)


def test_rollbacks_in_a_row_lengthen_the_cooldown_and_then_freeze_until_a_person_resumes(store: Store) -> None:
    with store.begin() as tx:
        ended(tx, 1, Phase.ROLLED_BACK, NOW - 1500.0)
        alarm(tx, "a1", "input", "new_inputs")
    reason, told = why(store, "a1")
    assert (reason, done(store)) == ("cooldown", None)
    assert "The cooldown ends in 8.33 min." in cycle_told(store, "c1").next
    assert told.next[0].startswith("It waits for the cooldown of 33.3 min") and "500 s more" not in told.next[0]
    assert "8.33 min more" in told.next[0]
    with store.begin() as tx:
        ended(tx, 2, Phase.ROLLED_BACK, NOW - 1200.0)
    reason, told = why(store, "a1")
    assert (reason, done(store)) == ("frozen_after_rollbacks", None)
    assert "2 rollbacks in a row" in told.next[0]
    assert told.can_do[0].command == "homeostat resume --reason …"
    assert any("2 rollbacks in a row no cycle starts" in line for line in cycle_told(store, "c1").next)
    with store.begin() as tx:
        states.put(tx, PAUSED, b"1", NOW - 100.0)
    assert (why(store, "a1")[0], done(store, paused=True)) == ("paused", None)
    with store.begin() as tx:
        states.put(tx, PAUSED, b"0", NOW - 50.0)
        freeze.lift(tx, "support", NOW - 50.0)
    assert (why(store, "a1")[0], done(store)) == ("input_drift", "input_drift")


def test_a_resume_is_looked_for_where_the_command_leaves_it() -> None:
    assert controller.PAUSED == PAUSED


def test_a_resume_of_before_the_rollbacks_forgives_none(store: Store) -> None:
    with store.begin() as tx:
        freeze.lift(tx, "support", NOW - 9000.0)
        ended(tx, 1, Phase.ROLLED_BACK, NOW - 8000.0)
        ended(tx, 2, Phase.DENIED, NOW - 7000.0)
        ended(tx, 3, Phase.ROLLED_BACK, NOW - 6000.0, cause="manual")
        alarm(tx, "a1", "input", "new_inputs")
    assert (why(store, "a1")[0], done(store)) == ("frozen_after_rollbacks", None)


def test_what_the_newest_promotion_was_about_starts_nothing_and_says_so(store: Store) -> None:
    with store.begin() as tx:
        ended(tx, 1, Phase.PROMOTED, NOW - 4000.0)
        alarm(tx, "a1", "reward", "changed_answers", at=NOW - 4500.0)
    reason, told = why(store, "a1")
    assert (reason, done(store)) == ("same_cause", None)
    assert "trained for what it saw" in told.next[0]
    with store.read() as read:
        row = alarms.get(read, "a1")
        assert row is not None and row.answer == "same_cause"
        assert told_alarms.explain(read, row, CONFIG, NOW).next == (told_alarms.ANSWERS["same_cause"],)


def test_an_alarm_that_another_one_answers_names_it_and_what_was_passed_over(store: Store) -> None:
    with store.begin() as tx:
        ended(tx, 1, Phase.PROMOTED, NOW - 6000.0)
        alarm(tx, "a1", "reward", "changed_answers", rewards=40, usual=0.8, known_from=1_640, familiar_share=0.75)
        alarm(tx, "a2", "feedback", "new_inputs", rewards=50, usual=0.1, direction="rise")
    told = why(store, "a2")[1]
    assert told.next[1] == "It is for a1, and answers this one too."
    assert told_alarms.WORDS["nothing_to_compare"] in told.next, "what was promoted has no row and serves nobody"
    assert told.decided.words.startswith("The share of corrections shows a rise from the usual 0.1 over 50 rewards.")
    assert "the questions are new" in told.decided.words
    first = why(store, "a1")[1]
    assert "from the usual 0.8 (known from 1,640 rewards) over 40 rewards" in first.decided.words
    assert "changed" in first.decided.words and any(note.startswith("75 %") for note in first.notes)
    assert done(store) == "concept_drift"
    with store.read() as read:
        assert {a.answer for a in alarms.newest(read, "support", 5)} == {
            c.id for c in cycles.newest(read, "support", 1)
        }


def test_pairs_that_were_tried_in_vain_are_not_tried_again_after_a_champion_was_kept(store: Store) -> None:
    """A second probation, which comes in between, answers nothing of what the pairs were tried for."""
    shows = CONFIG.cycle.demonstrations.model_copy(update={"enabled": True})
    config = CONFIG.model_copy(update={"cycle": CONFIG.cycle.model_copy(update={"demonstrations": shows})})
    with store.begin() as tx:
        ended(tx, 1, Phase.PROMOTED, NOW - 3000.0)
        ended(tx, 2, Phase.INCONCLUSIVE, NOW - 2000.0, "a1")
        shown = {"rollout": "r2", "action": Action.DEMONSTRATE.value}
        cycles.update_phase(
            tx, "c2", phase="done", reason="rollout_inconclusive", data=shown, at=NOW - 2000.0, active=False
        )
        assert standing_now(tx, config).demonstrated == "demonstrations_not_promoted"
        ended(tx, 3, Phase.KEPT, NOW - 1000.0, "a9")
        assert standing_now(tx, config).demonstrated == "demonstrations_not_promoted"


def test_every_reason_of_the_policy_has_words() -> None:
    found: set[str] = set()
    free = Standing((), False, False, False, True, None, 0)
    standings = [
        free,
        replace(free, may_train=False),
        replace(free, paused=True),
        replace(free, cycle_open=True),
        replace(free, rollout_active=True),
        replace(free, last_end=NOW - 1.0),
        replace(free, rollbacks_same_cause=1),
        replace(free, rollbacks_same_cause=2),
        replace(free, last_promoted=NOW - 600.0),
        replace(free, last_promoted=NOW + 10.0),
        *(replace(free, rollbacks_same_cause=1, asked={"a": name}) for name in ENDS),
        *(
            replace(free, last_promoted=NOW - 600.0, no_second_probation=name)
            for name in ("second_probation_over", "nothing_to_compare")
        ),
        *(replace(free, demonstrated=name) for name in (*DEMONSTRATED.values(), DEMONSTRATIONS_STOPPED)),
    ]
    for standing, kind, cause, at in product(
        standings, AlarmKind, ("new_inputs", "changed_answers", "unknown"), (NOW - 500.0, NOW)
    ):
        chosen = choose(replace(standing, alarms=(OpenAlarm("a", kind, at, cause),)), CONFIG.cycle, NOW)
        found |= {chosen.reason, *chosen.passed_over}
    found.add(choose(free, CONFIG.cycle, NOW).reason)
    assert found == REASONS
    for reason in REASONS:
        said = told_alarms.words(reason, free, CONFIG, NOW)
        assert said.endswith(".") and "{" not in said, reason
    assert set(told_alarms.WORDS) == REASONS, "and no words for what nobody can say"


def test_a_cycle_says_why_it_began_in_words() -> None:
    begun = {rule.reason for rule in POLICY if Action.ADAPT in rule.actions}
    assert begun - set(told_cycles.REASONS) == set()


@pytest.mark.parametrize(("phase", "stops"), [("training", True), ("gating", True), ("rolling", False)])
def test_a_cycle_ends_with_the_champion_that_it_learns_from(store: Store, phase: str, stops: bool) -> None:
    data: dict[str, Any] = {
        "champion": "support-old",
        "version": "support-new",
        "job": "j1",
        "rollout": "r1",
        "overrides": {},
    }
    with store.begin() as tx:
        cycles.create(
            tx, cycle="c1", deployment="support", cause="a1", phase=phase, reason="x", data=data, at=NOW - 9.0
        )
        jobs.create(tx, job="j1", cycle="c1", spec={}, max_attempts=1, at=NOW - 9.0)
        denials.deny(tx, "support", "support-old", reason="rolled_back:by_person", actor="ann", at=NOW - 1.0)
    learning(store, CONFIG, OUTLOOK, NOW).tick("support-older", False, False)
    with store.read() as read:
        row, job = cycles.get(read, "c1"), jobs.get(read, "j1")
    assert row is not None and job is not None
    assert (row.active, row.reason) == ((False, "champion_left") if stops else (True, "x"))
    assert (job.state == "cancelled") is stops
    assert not stops or "rolled back meanwhile" in cycle_told(store, "c1").decided.words
