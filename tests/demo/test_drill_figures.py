"""What the drill reads from the ledger, and what it takes to pass it."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.demo.documents import Json
from daemon.demo.drill import Faults
from daemon.demo.drill_figures import (
    DrillFigures,
    Harmful,
    Trainer,
    Undefended,
    drill_failures,
    routed_after,
    suspended,
    trainer_figures,
    undefended_figures,
)
from daemon.demo.journal import Served
from streams.failpoints import parse


def event(kind: str, subject: str, reason: str, **data: object) -> Json:
    return {"id": 1, "at": 1.0, "kind": kind, "subject": subject, "reason": reason, "data": data}


LEDGER = [
    event("training", "cycle-1", "lease_expired", attempt=1),
    event("training", "cycle-1", "non_finite_weights", attempt=2),
    event("training", "cycle-1", "trained", attempt=3, version="support-aa"),
    event("gate", "support-aa", "old_desks_worse", verdict="fail", cycle="cycle-1"),
    event("gate", "support-bb", "passed", verdict="pass", cycle="cycle-2"),
    event("suspension", "rollout-2", "harmful_version", examples=317),
    event("suspension", "rollout-9", "harmful_version", examples=5),
]


def test_the_gate_stopped_it_and_says_why() -> None:
    found = undefended_figures(LEDGER, {"id": "cycle-1", "phase": "stopped", "reason": "gate_old_desks_worse"})
    assert (found.verdict, found.stopped_by, found.reason) == ("fail", "gate", "old_desks_worse")


def test_a_cycle_that_the_gate_did_not_stop_is_not_called_stopped_by_it() -> None:
    found = undefended_figures(LEDGER, {"id": "cycle-2", "phase": "done", "reason": "rollout_promoted"})
    assert (found.verdict, found.stopped_by) == ("done", None)
    found = undefended_figures([], {"id": "cycle-3", "phase": "stopped", "reason": "training_failed"})
    assert (found.verdict, found.stopped_by, found.reason) == ("stopped", None, "training_failed")


def test_faults_of_the_trainer_are_counted_for_their_cycle() -> None:
    found = trainer_figures(LEDGER, "cycle-1")
    assert (found.killed, found.non_finite, found.attempts) == (1, 1, 3)
    assert trainer_figures(LEDGER, "cycle-2") == Trainer()


def test_suspensions_of_a_rollout() -> None:
    assert suspended(LEDGER, "rollout-2") == 317
    assert suspended(LEDGER, "rollout-1") == 0


def test_routed_after_by_either_witness() -> None:
    rows = [Served(t, t + 0.1, "d", "x", True, True, v) for t, v in ((1.0, "bad"), (3.0, "good"), (4.0, "bad"))]
    assert routed_after(rows[:2], "bad", 2.0, 1.0) == 0
    assert routed_after(rows, "bad", 2.0, 1.0) == 1
    assert routed_after(rows[:2], "bad", 2.0, 2.5) == 1


def test_failpoints_wait_until_they_are_armed(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    actions = parse(faults.disarmed()["HOMEOSTAT_FAILPOINTS"])
    assert actions == {
        "trainer.kill_mid_job": f"kill_once:{faults.kill}",
        "trainer.write_nan": f"raise_once:{faults.nan}",
    }
    assert faults.kill.exists() and faults.nan.exists()
    faults.arm()
    assert not faults.kill.exists() and not faults.nan.exists()


def passed() -> DrillFigures:
    return DrillFigures(
        seconds=300.0,
        promoted="support-00",
        undefended=Undefended(verdict="fail", stopped_by="gate", reason="old_desks_worse"),
        harmful=Harmful(verdict="rolled_back", reason="harm", routed_after=0, units=80, suspended=9, gate="pass"),
        trainer=Trainer(killed=1, non_finite=1, attempts=3, failed_requests=0),
        requests=1,
    )


def test_a_passed_drill_has_no_failures() -> None:
    assert drill_failures(passed(), 360.0) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"promoted": None}, "first_promotion"),
        ({"undefended": Undefended(verdict="stopped", reason="training_failed")}, "undefended_stopped_by_gate"),
        ({"trainer": Trainer(killed=0, non_finite=1, attempts=3, failed_requests=0)}, "trainer_kill_recorded"),
        ({"trainer": Trainer(killed=1, non_finite=0, attempts=3, failed_requests=0)}, "trainer_nan_recorded"),
        ({"trainer": Trainer(killed=1, non_finite=1, attempts=2, failed_requests=0)}, "trainer_retried"),
        ({"trainer": Trainer(killed=1, non_finite=1, attempts=3, failed_requests=1)}, "serving_during_faults"),
        ({"failed": 2}, "serving_without_a_pause"),
        ({"seconds": 361.0}, "seconds"),
    ],
)
def test_each_expectation_fails_by_name(change: dict[str, object], name: str) -> None:
    assert [f.split(":")[0] for f in drill_failures(passed().model_copy(update=change), 360.0)] == [name]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"verdict": "promoted"}, "harmful_rolled_back"),
        ({"routed_after": 3}, "harmful_not_routed_after"),
        ({"suspended": 0}, "harmful_examples_suspended"),
        ({"gate": "fail"}, "harmful_passed_the_gate"),
    ],
)
def test_the_harmful_candidate(change: dict[str, object], name: str) -> None:
    figures = passed()
    figures.harmful = figures.harmful.model_copy(update=change)
    assert [f.split(":")[0] for f in drill_failures(figures, 360.0)] == [name]
