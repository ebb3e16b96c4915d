"""A freeze is told: once in the ledger when it begins and when it ends, in the status, as a gauge that pages."""

from __future__ import annotations

from typing import Any

import pytest

from daemon import freeze_record
from daemon.cli import output
from daemon.controller import Controller
from daemon.faults import Refused
from daemon.freeze import RolledBack
from daemon.freeze_record import SHOWN, found
from daemon.store import cycles, denials, ledger, rollouts
from tests.daemon.loop_bench import ME, NEW, OLD, LoopBench
from tests.daemon.test_approval import SILENT, rolled_back

TOLD = {"frozen_after_rollbacks", "freeze_over", "freeze_lifted"}


def told(bench: LoopBench) -> list[tuple[str, str]]:
    """(kind, reason) of the entries about a freeze."""
    with bench.store.read() as read:
        entries = ledger.about(read, "support")
    return [(e.kind, e.reason) for e in entries if e.reason in TOLD]


def noticed(bench: LoopBench, *numbers: int, **fields: Any) -> None:
    """Rollbacks with their entries in the ledger, as the rollout's shell leaves them."""
    for number in numbers:
        rolled_back(bench, number, **fields)
        noted(bench)


def noted(bench: LoopBench) -> None:
    with bench.store.begin() as tx:
        row: dict[str, Any] = {"deployment": "support", "subject": "r", "kind": "rollout", "reason": "reward_harm"}
        ledger.append(tx, at=bench.now, actor="daemon", data={}, **row)


def gauge(bench: LoopBench) -> float | None:
    return bench.metrics.registry.get_sample_value("homeostat_deployment_frozen")


def frozen(bench: LoopBench) -> Controller:
    """A daemon that was told of two rollbacks in a row."""
    controller, _ = bench.daemon()
    controller.tick()
    noticed(bench, 1, 2)
    controller.tick()
    return controller


def test_a_freeze_began_with_the_rollback_that_filled_the_count_and_names_the_newest() -> None:
    past = tuple(RolledBack(f"r{n}", float(n), "reward_harm") for n in range(9, 0, -1))
    assert found(past[-1:], 2) is None
    assert found(past[-2:], 2) == freeze_record.Freeze(
        since=2.0, rollbacks=2, rollouts=("r2", "r1"), reasons=("reward_harm", "reward_harm")
    )
    many = found(past, 2)
    assert many is not None and (many.since, many.rollbacks) == (2.0, 9)
    assert many.rollouts == ("r9", "r8", "r7", "r6", "r5") and len(many.reasons) == SHOWN


@pytest.mark.slow
def test_it_is_told_once_whatever_ticks_and_restarts_come_and_a_resume_ends_it(bench: LoopBench) -> None:
    controller = frozen(bench)
    noticed(bench, 3)
    for _ in range(3):
        controller.tick()
    controller, _ = bench.daemon()
    controller.tick()
    assert told(bench) == [("freeze", "frozen_after_rollbacks")]
    assert gauge(bench) == 1.0
    status = controller.status()
    assert status["freeze"] == {
        "since": 2.0,
        "rollbacks": 3,
        "rollouts": ["r3", "r2", "r1"],
        "reasons": ["reward_harm"] * 3,
        "resume": "homeostat resume --reason …",
    }
    lines = output.status(status)
    assert "FROZEN" in lines and "r3 reward_harm" in lines and "until: homeostat resume --reason …" in lines
    with pytest.raises(Refused, match="--reason"):
        controller.resume(SILENT)
    controller.resume(ME)
    for _ in range(2):
        controller.tick()
    assert told(bench) == [("freeze", "frozen_after_rollbacks"), ("resume", "freeze_lifted")]
    assert (controller.status()["freeze"], gauge(bench)) == (None, 0.0)
    assert "FROZEN" not in output.status(controller.status())
    with bench.store.read() as read:
        named = [e.reason for e in ledger.of_subject(read, "r2")]
    assert "frozen_after_rollbacks" in named, "why of the rollout that began it names the freeze"


@pytest.mark.slow
def test_a_crash_before_the_commit_leaves_neither_entry_nor_record(bench: LoopBench) -> None:
    noticed(bench, 1, 2)
    with pytest.raises(KeyboardInterrupt), bench.store.begin() as tx:
        assert freeze_record.settle(tx, "support", 2, bench.now) is not None
        raise KeyboardInterrupt
    assert told(bench) == []
    controller, _ = bench.daemon()
    controller.tick()
    assert told(bench) == [("freeze", "frozen_after_rollbacks")]


@pytest.mark.slow
def test_a_resume_that_comes_before_the_tick_leaves_both_entries(bench: LoopBench) -> None:
    noticed(bench, 1, 2)
    controller, _ = bench.daemon()
    assert controller.resume(ME)["rollbacks_forgotten"] == 2
    controller.tick()
    assert told(bench) == [("freeze", "frozen_after_rollbacks"), ("resume", "freeze_lifted")]


@pytest.mark.slow
def test_a_larger_limit_or_a_lifted_denial_ends_it_with_an_entry_of_its_own(bench: LoopBench) -> None:
    frozen(bench)
    bench.more = "cycle: {freeze_after: 3}"
    controller, _ = bench.daemon()
    controller.tick()
    assert told(bench) == [("freeze", "frozen_after_rollbacks"), ("freeze", "freeze_over")]
    assert (controller.status()["freeze"], gauge(bench)) == (None, 0.0)
    with bench.store.begin() as tx:
        denials.deny(tx, "support", OLD, reason="rolled_back:by_person", actor="ann", at=bench.now)
        row = rollouts.Rollout("r4", "support", OLD, NEW, "a", "promoted", False, "x", {}, 9.0, 9.0, 9.0, 9.0)
        rollouts.create(tx, row)
        cycles.create(
            tx, cycle="c4", deployment="support", cause="a", phase="done", reason="x", data={"rollout": "r4"}, at=9.0
        )
    noted(bench)
    controller.tick()
    assert told(bench)[2:] == [("freeze", "frozen_after_rollbacks")], "a promoted version that was left counts"
    status = controller.status()
    assert (status["freeze"]["reasons"][0], status["freeze"]["since"]) == ("left_after_promotion", bench.now)
    with bench.store.begin() as tx:
        denials.lift(tx, OLD, reason="a fluke", at=bench.now)
    noted(bench)
    controller.tick()
    assert told(bench)[3:] == [("freeze", "freeze_over")]


@pytest.mark.slow
def test_in_mode_observe_nothing_is_written(bench: LoopBench) -> None:
    bench.mode = "observe"
    noticed(bench, 1, 2)
    controller, _ = bench.daemon()
    controller.tick()
    assert told(bench) == [] and controller.status()["freeze"] is None
