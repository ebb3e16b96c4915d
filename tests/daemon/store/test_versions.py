"""Versions, proofs, denials, suspensions, lineage, jobs and units."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from daemon.store import Store, buffers, denials, jobs, proofs, suspended, tables, units, versions
from daemon.store.buffers import Buffer, Item
from daemon.store.cycles import Cycle
from daemon.store.jobs import Job
from daemon.store.proofs import Proof
from daemon.store.rollouts import Rollout
from daemon.store.units import Unit, UnitEvent
from daemon.store.versions import Version

VERSION = Version(
    version="support-aaaaaaaaaaaa",
    deployment="support",
    tenant="default",
    kind="lora",
    digest="aa",
    base_digest="bb",
    parent=None,
    status="registered",
    gate=None,
    manifest="artifacts/support-aaaaaaaaaaaa/manifest.json",
    buffer="buf",
    created_at=1.0,
)


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (Rollout, tables.rollouts),
        (Cycle, tables.cycles),
        (Version, tables.versions),
        (Job, tables.jobs),
        (Unit, tables.units),
        (UnitEvent, tables.unit_events),
    ],
)
def test_rows_have_the_columns_of_their_table_in_order(row: Any, table: Any) -> None:
    assert list(signature(row).parameters) == [column.name for column in table.columns]


def test_the_stack_holds_promoted_versions_newest_first(store: Store) -> None:
    names = ["support-a", "support-b", "support-c"]
    with store.begin() as tx:
        for number, name in enumerate(names):
            assert versions.register(tx, replace(VERSION, version=name, created_at=float(number)))
        assert not versions.register(tx, replace(VERSION, version="support-a"))
        versions.register(tx, replace(VERSION, version="support-id", kind="identity", created_at=9.0))
        versions.set_gate(tx, "support-a", {"verdict": "fail"}, passed=False)
        versions.set_gate(tx, "support-b", {"verdict": "pass"}, passed=True)
        versions.promote(tx, "support-a", at=10.0)
        versions.promote(tx, "support-b", at=20.0)
        versions.promote(tx, "support-id", at=30.0)
    with store.read() as read:
        assert [v.version for v in versions.promoted_stack(read, "support")] == ["support-b", "support-a"]
        found = versions.identity(read, "support", "bb")
        assert found is not None and found.version == "support-id"
        assert [v.version for v in versions.of_deployment(read, "support")][:2] == ["support-id", "support-c"]
        assert {v.version for v in versions.of_buffer(read, "buf")} == {*names, "support-id"}
    with store.begin() as tx:
        versions.set_status(tx, "support-b", "denied")
        assert [v.version for v in versions.promoted_stack(tx, "support")] == ["support-a"]


@pytest.mark.parametrize("passed", [True, False])
def test_an_examination_of_the_same_content_again_takes_nothing_from_what_serves(store: Store, passed: bool) -> None:
    """Pairs that are chosen again are the same version, which may be the champion or a rollback target."""
    with store.begin() as tx:
        versions.register(tx, VERSION)
        versions.set_gate(tx, VERSION.version, {"verdict": "pass"}, passed=True)
        versions.promote(tx, VERSION.version, at=10.0)
        versions.set_gate(tx, VERSION.version, {"verdict": "pass" if passed else "fail"}, passed=passed)
        (row,) = versions.promoted_stack(tx, "support")
        assert row.gate == {"verdict": "pass"}
        versions.set_status(tx, VERSION.version, "denied")
        versions.set_gate(tx, VERSION.version, {"verdict": "pass"}, passed=True)
        found = versions.get(tx, VERSION.version)
        assert found is not None and found.status == "denied"


def test_demonstrations_are_no_target_while_what_they_stand_on_is_denied(store: Store) -> None:
    """A way back may pass them over because they are not loaded, and then leave the adapter below."""
    names = ["support-a", "support-b"]
    with store.begin() as tx:
        for name in names:
            versions.register(tx, replace(VERSION, version=name))
            versions.promote(tx, name, at=10.0)
        shows = replace(VERSION, version="support-shows", kind="demonstrations", parent="support-b")
        versions.register(tx, shows)
        versions.promote(tx, "support-shows", at=20.0)
        steps: tuple[tuple[versions.Status, list[str]], ...] = (
            ("promoted", ["support-shows", "support-b", "support-a"]),
            ("denied", ["support-a"]),
            ("gated", ["support-shows", "support-a"]),
        )
        for status, expected in steps:
            versions.set_status(tx, "support-b", status)
            assert [v.version for v in versions.promoted_stack(tx, "support")] == expected


def test_the_newest_proof_of_each_replica_counts(store: Store) -> None:
    good = Proof("v", "r0", "boot-1", True, "equal", {"share": 1.0}, 1.0)
    with store.begin() as tx:
        proofs.add(tx, good)
        proofs.add(tx, replace(good, replica="r1"))
        proofs.add(tx, replace(good, incarnation="boot-2", ok=False, reason="no_effect", at=2.0))
        assert {name: (p.ok, p.incarnation) for name, p in proofs.latest(tx, "v").items()} == {
            "r0": (False, "boot-2"),
            "r1": (True, "boot-1"),
        }


def test_a_denial_holds_until_it_is_lifted_and_may_come_again(store: Store) -> None:
    with store.begin() as tx:
        denials.deny(tx, "support", "v", reason="harm", actor="controller", at=1.0)
        denials.deny(tx, "support", "v", reason="operator", actor="ann", at=2.0)
        assert denials.of_deployment(tx, "support")["v"].reason == "harm"
        assert denials.lift(tx, "v", reason="was a fluke", at=3.0)
        assert not denials.lift(tx, "v", reason="again", at=3.0)
        assert not denials.is_denied(tx, "v")
        denials.deny(tx, "support", "v", reason="operator", actor="ann", at=4.0)
        assert denials.is_denied(tx, "v")


def test_an_example_stays_suspended_while_one_rollout_holds_it(store: Store) -> None:
    with store.begin() as tx:
        assert suspended.add(tx, "r1", ["x1", "x2", "x1"], at=1.0) == 2
        assert suspended.add(tx, "r1", ["x2"], at=1.0) == 0
        suspended.add(tx, "r2", ["x2"], at=2.0)
        assert suspended.counts(tx) == {"r1": 2, "r2": 1}
        assert suspended.lift(tx, "r1", reason="approved", at=3.0) == 2
        assert suspended.all_ids(tx) == {"x2"}


def test_lineage_goes_both_ways(store: Store) -> None:
    buffer = Buffer("d1", "support", "default", "a1", {"new": 1}, 1.0)
    kept, dropped = Item("x1", "new", "kept", "agreed"), Item("x2", "dropped", "identity_cap", "over_cap")
    with store.begin() as tx:
        assert buffers.add(tx, buffer, [kept, dropped])
        assert not buffers.add(tx, buffer, [kept])
        assert buffers.items(tx, "d1") == [kept, dropped]
        assert buffers.items(tx, "d1", role="new") == [kept]
        assert buffers.with_exchange(tx, "x2") == [("d1", dropped)]
        assert buffers.get(tx, "d1") == buffer


def test_a_job_is_claimed_kept_and_finished_by_one_attempt(store: Store) -> None:
    with store.begin() as tx:
        jobs.create(tx, job="j1", cycle="c1", spec={"seed": 1}, max_attempts=3, at=1.0)
        jobs.create(tx, job="j1", cycle="c1", spec={"seed": 2}, max_attempts=3, at=1.0)
        claimed = jobs.claim(tx, "w1", now=2.0)
        assert claimed is not None and (claimed.attempt, claimed.spec, claimed.state) == (1, {"seed": 1}, "claimed")
        assert jobs.claim(tx, "w2", now=2.0) is None
        assert jobs.heartbeat(tx, "j1", worker="w1", attempt=1, report={"step": 5}, now=3.0)
        assert not jobs.heartbeat(tx, "j1", worker="w2", attempt=1, report={}, now=3.0)
        assert jobs.expire(tx, now=10.0, lease_s=8.0) == []
        assert jobs.finish(tx, "j1", attempt=1, report={"loss": 0.1}, at=4.0)
        assert not jobs.finish(tx, "j1", attempt=1, report={}, at=5.0)
        done = jobs.get(tx, "j1")
        assert done is not None and (done.state, done.report) == ("done", {"loss": 0.1})


def test_a_silent_worker_loses_its_job_and_the_tries_are_bounded(store: Store) -> None:
    with store.begin() as tx:
        jobs.create(tx, job="j1", cycle="c1", spec={}, max_attempts=2, at=0.0)
        jobs.claim(tx, "w1", now=0.0)
        assert [(j.state, j.reason) for j in jobs.expire(tx, now=11.0, lease_s=10.0)] == [("queued", "lease_expired")]
        # The first worker comes back: nobody listens.
        assert not jobs.finish(tx, "j1", attempt=1, report={}, at=12.0)
        second = jobs.claim(tx, "w2", now=12.0)
        assert second is not None and second.attempt == 2
        assert jobs.fail(tx, "j1", attempt=1, reason="late", report={}, at=13.0) is None
        assert jobs.fail(tx, "j1", attempt=2, reason="non_finite_weights", report={"x": 1}, at=13.0) == "failed"
        assert jobs.claim(tx, "w3", now=14.0) is None
        assert [(j.state, j.reason) for j in jobs.of_cycle(tx, "c1")] == [("failed", "non_finite_weights")]


def test_a_cancelled_job_tells_its_worker_to_stop(store: Store) -> None:
    with store.begin() as tx:
        jobs.create(tx, job="j1", cycle="c1", spec={}, max_attempts=2, at=0.0)
        jobs.claim(tx, "w1", now=0.0)
        jobs.cancel(tx, "j1", reason="operator", at=1.0)
        assert not jobs.heartbeat(tx, "j1", worker="w1", attempt=1, report={}, now=2.0)


def test_units_and_events_come_back_in_order_and_count_once(store: Store) -> None:
    some = [Unit("r1", n, f"s{n}", "i", "canary" if n % 2 else "control", 0.1, True, False, float(n)) for n in range(5)]
    seen = [UnitEvent("r1", n, "promote" if n % 2 else "harm.reward", n % 5, 0.1 * n, float(n)) for n in range(10)]
    with store.begin() as tx:
        units.append(tx, some[:3], seen[:4])
        units.append(tx, some[3:], seen[4:])
    with store.read() as read:
        assert units.of_rollout(read, "r1") == some
        assert units.events_of(read, "r1") == seen
        assert units.events_of(read, "r1", path="promote", after_seq=4) == [e for e in seen if e.seq in (5, 7, 9)]
    with pytest.raises(IntegrityError), store.begin() as tx:
        units.append(tx, [some[0]._replace(seq=99)], [])
