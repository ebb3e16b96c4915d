"""What only a person lifts: the denial of a version, and a freeze after rollbacks."""

from __future__ import annotations

import pytest

from daemon import freeze
from daemon.api.ports import By
from daemon.faults import Refused
from daemon.store import cycles, denials, ledger, rollouts, suspended, versions
from deploy.rollout import Phase
from deploy.verdict import EVIDENCE_REASONS, HARM_REASONS, suspends
from tests.daemon.going_back import denied, started
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow
SILENT = By("tester", "  ")


def test_a_denial_is_lifted_with_a_reason_and_the_ledger_says_so(bench: LoopBench) -> None:
    controller = started(bench, OLD, NEW)
    controller.rollback(ME, None, False)
    for by, version, reason in (
        (SILENT, NEW, "reason_needed"),
        (ME, "support-ffffffffffff", "unknown_version"),
        (ME, OLD, "not_denied"),
    ):
        with pytest.raises(Refused) as refused:
            controller.approve(by, version)
        assert refused.value.reason == reason
    assert denied(bench) == {NEW}
    answer = controller.approve(ME, NEW)
    assert (answer["was"], answer["status"]) == ("rolled_back:by_person", "registered")
    assert denied(bench) == set()
    with bench.store.read() as read:
        entry = ledger.about(read, NEW)[-1]
    assert (entry.kind, entry.reason, entry.actor, entry.data["note"]) == (
        "approval",
        "denial_lifted",
        "tester",
        "because",
    )
    controller.tick()
    status = controller.status()
    assert (status["champion"], status["targets"]) == (OLD, [IDENTITY]), "an approval moves nobody"


def test_an_approved_version_below_what_serves_is_one_to_go_back_to(bench: LoopBench) -> None:
    controller = started(bench, OLD, NEW)
    with bench.store.begin() as tx:
        denials.deny(tx, "support", OLD, reason="rolled_back:by_person", actor="me", at=1.0)
        versions.set_status(tx, OLD, "denied")
    controller.tick()
    assert controller.status()["targets"] == [IDENTITY]
    assert controller.approve(ME, OLD)["status"] == "promoted"
    assert controller.status()["targets"] == [OLD, IDENTITY]


def test_what_its_rollback_suspended_stays_unless_that_is_asked_for(bench: LoopBench) -> None:
    controller = started(bench, OLD, NEW)
    controller.rollback(ME, None, False)
    with bench.store.begin() as tx:
        suspended.add(tx, NEW, ["x1", "x2"], 1.0)
    assert controller.approve(ME, NEW)["suspended"] == 2
    with bench.store.begin() as tx:
        denials.deny(tx, "support", NEW, reason="again", actor="me", at=1.0)
    assert controller.approve(ME, NEW, examples=True)["suspended"] == 0
    with bench.store.read() as read:
        assert suspended.all_ids(read) == set()


def rolled_back(bench: LoopBench, number: int, end: str = "rolled_back", cause: str = "alarm") -> None:
    """A cycle whose rollout ended."""
    at = float(number)
    row = rollouts.Rollout(
        f"r{number}", "support", NEW, OLD, cause, end, False, "reward_harm", {}, at, at, at + 9.0, at
    )
    with bench.store.begin() as tx:
        rollouts.create(tx, row)
        data = {"rollout": row.id}
        cycles.create(
            tx,
            cycle=f"c{number}",
            deployment="support",
            cause=cause,
            phase="rolling",
            reason="gate_passed",
            data=data,
            at=at,
        )
        cycles.update_phase(tx, f"c{number}", phase="done", reason=end, data=data, at=at, active=False)


def frozen(bench: LoopBench) -> int:
    with bench.store.read() as read:
        return freeze.rollbacks(read, "support")


def test_a_person_who_resumes_with_a_reason_begins_the_count_anew(bench: LoopBench) -> None:
    controller, _ = bench.daemon()
    rolled_back(bench, 1, end="promoted")
    rolled_back(bench, 2)
    assert controller.resume(SILENT)["rollbacks_forgotten"] == 0, "one rollback freezes nothing"
    rolled_back(bench, 3)
    assert frozen(bench) == bench.config().cycle.freeze_after
    assert controller.pause(ME)["frozen"]
    with pytest.raises(Refused, match="--reason"):
        controller.resume(SILENT)
    assert controller.status()["paused"]
    assert controller.resume(ME) == {"paused": False, "frozen": False, "rollbacks_forgotten": 2}
    assert frozen(bench) == 0
    with bench.store.read() as read:
        entry = [e for e in ledger.about(read, "support") if e.kind == "resume"][-1]
    assert (entry.reason, entry.data["rollbacks"], entry.data["note"]) == ("freeze_lifted", 2, "because")
    rolled_back(bench, 4)
    assert frozen(bench) == 1
    rolled_back(bench, 5, cause="manual")
    assert frozen(bench) == 1, "what a person asked for counts against no alarm"


def test_the_end_of_a_rollout_suspends_examples_for_evidence_against_its_candidate_alone() -> None:
    for reason in ("reward_harm", "consecutive_server_errors", *HARM_REASONS.values()):
        assert suspends(Phase.ROLLED_BACK, reason) and reason in EVIDENCE_REASONS
    for reason in (
        "fleet_errors",
        "fleet_slow",
        "fleet_corrupted",
        "rollback_by_person",
        "no_effect",
        "sample_ratio_mismatch",
    ):
        assert not suspends(Phase.ROLLED_BACK, reason)
    assert not suspends(Phase.DENIED, "consecutive_server_errors")
