"""What a rollback must not lose to a faster writer, a failing store, a tick under way or a clock that was set back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

import daemon.rolling
from daemon.adoption import left_on_host
from daemon.controller import Controller
from daemon.faults import Refused
from daemon.learning import Learning
from daemon.rollout_start import RolloutStart
from daemon.routing import Routing
from daemon.standing import left_behind
from daemon.store import Store, StoreUnavailable, cycles, denials, fences, jobs, ledger, proofs, rollouts, versions
from deploy.power import Outlook
from deploy.rollout import Phase
from deploy.routes import Route, RouteFile, Split
from deploy.verdict import Judgement
from monitors.gate import GateReason, GateResult
from monitors.metrics import Metrics
from tests.daemon.fake_host import FakeHost, FakeReplica
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow
OLDEST = "support-999999999999"


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> LoopBench:
    return LoopBench(tmp_path, store)


def started(bench: LoopBench, *stack: str) -> Controller:
    """A daemon with promoted versions, the newest of which serves; one tick old."""
    bench.register(*stack, promoted=True)
    bench.host.write_route(route_file(1, stack[-1], "promoted"))
    controller, _ = bench.daemon()
    controller.tick()
    return controller


def in_canary(bench: LoopBench) -> Controller:
    """A daemon whose newest version has a share beside a promoted one."""
    bench.register(OLDEST, OLD, promoted=True)
    bench.host.write_route(route_file(1, OLD, "promoted"))
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    for _ in range(8):
        controller.tick()
        bench.now += 10.0
    assert bench.phase() is Phase.CANARY_SMALL
    return controller


def route_file(epoch: int, control: str, reason: str) -> RouteFile:
    """Everything to one version."""
    route = Route(deployment="support", alias="support", control=control)
    return RouteFile(epoch=epoch, actor="operator", reason=reason, written_at=0.0, routes=(route,))


def serving(bench: LoopBench) -> str | None:
    """What the host's route file names."""
    route = None if bench.host.route is None else bench.host.route.route("support")
    assert route is not None
    return route.control


def denied(bench: LoopBench) -> set[str]:
    """The deny list."""
    with bench.store.read() as read:
        return set(denials.of_deployment(read, "support"))


def fails(*_args: object, **_more: object) -> None:
    """As a full disk does."""
    raise OperationalError("COMMIT", {}, Exception("database or disk is full"))


def no_store(*_args: object, **_more: object) -> None:
    """As a store that went away does."""
    raise StoreUnavailable("gone")


class PassedGate:
    """A gate that has examined everything and found it good."""

    def result(self, _cycle: object, _version: str, _champion: object) -> GateResult:
        """At once."""
        return GateResult(verdict="pass", reason=GateReason.PASSED, checks=())


def test_one_wish_does_not_go_back_twice_when_somebody_at_the_host_was_faster(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, OLD)
    controller.tick()
    assert serving(bench) == OLD
    assert denied(bench) == {NEW}


def test_a_rollback_goes_on_above_a_writer_that_was_faster_and_went_elsewhere(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, NEW, "promoted"))
    answer = controller.rollback(ME, None, False)
    assert (answer["to"], answer["epoch"]) == (OLD, 8)
    assert serving(bench) == OLD


def test_a_rollback_is_done_although_the_store_fails_and_its_rows_come_with_the_next_tick(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        answer = controller.rollback(ME, None, False)
    assert answer["recorded"] is False
    assert serving(bench) == OLD
    controller.tick()
    assert denied(bench) == {NEW}


def test_two_rollbacks_while_the_store_is_away_deny_what_both_have_left(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, None, False)
    controller.rollback(ME, None, False)
    assert serving(bench) == IDENTITY, "the nearest that is loaded"
    assert denied(bench) == {NEW, OLD}


def test_a_route_written_over_an_unrecorded_rollback_takes_nothing_from_it(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, None, False)
        bench.host.write_route(route_file(9, OLDEST, f"rollback:{OLD}"))
        with pytest.raises(StoreUnavailable):
            controller.tick()
    controller.tick()
    assert denied(bench) == {NEW, OLD}


def test_two_steps_at_the_host_between_two_looks_are_both_recorded_by_the_next_rollback(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    bench.host.write_route(route_file(9, OLDEST, f"rollback:{OLD}"))
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        with pytest.raises(StoreUnavailable):
            controller.tick()
    controller.rollback(ME, None, False)
    assert serving(bench) == IDENTITY
    assert denied(bench) == {NEW, OLD, OLDEST}


def test_a_rollback_that_finds_two_steps_at_the_host_records_both(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    bench.host.write_route(route_file(8, OLDEST, f"rollback:{OLD}"))
    works, failing = fences.adopt, [True]

    def fails_once(*args: Any, **more: Any) -> None:
        if failing:
            failing.pop()
            fails()
        works(*args, **more)

    monkeypatch.setattr(fences, "adopt", fails_once)
    assert controller.rollback(ME, None, False)["to"] == OLDEST
    controller.tick()
    assert serving(bench) == OLDEST
    assert denied(bench) == {NEW, OLD}


def test_a_rollback_passes_over_what_is_loaded_and_not_proved(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    for replica in bench.host.replicas:
        del replica.proved[OLD]
    controller.tick()
    for replica in bench.host.replicas:
        replica.proved = {**replica.proved, OLD: False}
    bench.host.without_effect.add(OLD)
    controller.tick()
    assert controller.rollback(ME, None, False)["to"] == IDENTITY


def test_an_approval_is_not_taken_back_by_a_later_rollback(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, None, False)
    controller.tick()
    controller.approve(ME, NEW)
    controller.rollback(ME, None, False)
    assert denied(bench) == {OLD}


def test_a_route_found_past_a_canarys_control_denies_the_control_too(bench: LoopBench) -> None:
    bench.register(OLDEST, OLD, promoted=True)
    bench.host.write_route(route_file(1, OLD, "promoted"))
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    for _ in range(4):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    bench.host.write_route(route_file(9, OLDEST, f"rollback:{OLD}"))
    controller.tick()
    assert bench.phase() is Phase.ROLLED_BACK
    assert denied(bench) == {NEW, OLD}


def test_a_database_that_fails_in_use_is_named_as_the_stores_fault(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="disk is full"), store.begin():
        fails()


def test_a_second_rollback_before_the_next_tick_goes_to_what_is_loaded(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, None, False)
    assert controller.rollback(ME, None, False)["to"] == IDENTITY
    assert denied(bench) == {OLD, NEW}, "nobody left the one that was not loaded"


def test_rows_that_come_later_deny_what_the_route_names_and_not_what_was_not_loaded(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, None, False)
        assert controller.rollback(ME, None, False)["to"] == IDENTITY
    again, _ = bench.daemon()
    again.tick()
    assert denied(bench) == {OLD, NEW}


def test_a_second_rollback_without_a_store_leaves_what_the_first_came_back_to(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    with monkeypatch.context() as patch:
        for access in ("begin", "read"):
            patch.setattr(bench.store, access, no_store)
        first = controller.rollback(ME, None, False)
        second = controller.rollback(ME, None, False)
    assert (first["from"], first["to"]) == (NEW, OLD)
    assert (second["from"], second["to"]) == (OLD, OLDEST)
    assert serving(bench) == OLDEST


def test_a_second_rollback_leaves_what_the_first_came_back_to_although_no_row_can_be_written(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: what is there can be read."""
    controller = in_canary(bench)
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "begin", no_store)
        controller.rollback(ME, None, False)
        second = controller.rollback(ME, None, False)
    assert (second["from"], second["to"]) == (OLD, OLDEST)
    controller.tick()
    assert (denied(bench), bench.phase(), serving(bench)) == ({NEW, OLD}, Phase.ROLLED_BACK, OLDEST)


def test_a_promotion_whose_rows_are_still_to_come_is_what_a_rollback_leaves(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    assert controller.promote(ME)["phase"] == "probation"
    with monkeypatch.context() as patch:
        patch.setattr(versions, "promote", no_store)
        with pytest.raises(StoreUnavailable):
            controller.promote(ME)
    assert serving(bench) == NEW
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, OLD)
    controller.tick()
    assert (denied(bench), bench.phase(), serving(bench)) == ({NEW}, Phase.ROLLED_BACK, OLD)


def test_a_named_target_that_was_left_at_the_host_is_refused_without_a_store_too(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    bench.host.write_route(route_file(8, OLDEST, f"rollback:{OLD}"))
    with monkeypatch.context() as patch:
        for access in ("begin", "read"):
            patch.setattr(bench.store, access, no_store)
        with pytest.raises(Refused) as refused:
            controller.rollback(ME, OLD, False)
    assert refused.value.reason == "no_rollback_target"
    assert serving(bench) == OLDEST


def test_a_named_target_is_in_the_route_with_all_that_it_passes_over(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, IDENTITY, False)
    again, _ = bench.daemon()
    again.tick()
    assert denied(bench) == {OLDEST, OLD, NEW}


@pytest.mark.parametrize(
    ("target", "named", "gone"),
    [
        ("a", True, "dcb"),
        ("c", True, "d"),
        ("id", True, "dcba"),
        ("a", False, "d"),
        ("id", False, "d"),
        ("d", True, "d"),
    ],
)
def test_what_is_left_is_what_served_and_what_a_person_passed_over(target: str, named: bool, gone: str) -> None:
    assert left_behind(("d", "c", "b", "a", "id"), "d", target, named=named) == tuple(gone)
    assert left_behind(("d", "c", "b", "a", "id"), "x", "c", named=True) == ("x", "d"), "the control of a canary too"


@pytest.mark.parametrize(
    ("reason", "control", "before", "gone"),
    [
        ("rollback:d", "c", "d", "d"),
        ("rollback:d", "a", "d", "d"),
        ("rollback:c", "a", None, "dc"),
        ("rollback:c", "id", "c", "c"),
        ("rollback:d,c,b", "a", None, "dcb"),
        ("rollback:b", "a", "c", "cb"),
        ("rollback:c", "b", "b", "dc"),
        ("rollback:x", "b", None, "dc"),
        ("by hand", "id", None, "dcba"),
        ("by hand", "d", None, ""),
    ],
)
def test_what_a_route_that_was_found_has_left(reason: str, control: str, before: str | None, gone: str) -> None:
    assert "".join(left_on_host(list("dcba"), reason, control, before)) == gone


def test_what_a_rollback_passes_over_is_denied_and_controls_no_later_rollout(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, IDENTITY, False)
    assert denied(bench) == {OLDEST, OLD, NEW}
    with pytest.raises(Refused, match="nothing to roll back"):
        controller.rollback(ME, None, False)


def test_a_rollback_to_what_serves_now_is_refused(bench: LoopBench) -> None:
    controller = started(bench, OLD, NEW)
    with pytest.raises(Refused, match="serves now"):
        controller.rollback(ME, NEW, False)
    assert denied(bench) == set()


def test_a_rollback_that_lands_between_a_ticks_look_and_its_rows_stands(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(5):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL

    def judge(*_args: object) -> Judgement:
        controller.rollback(ME, None, False)
        return Judgement(None, "not_yet_non_inferior", {})

    with monkeypatch.context() as patch:
        patch.setattr(daemon.rolling, "judge", judge)
        controller.tick()
    assert bench.phase() is Phase.ROLLED_BACK


def test_a_proof_that_the_store_did_not_take_is_made_again(bench: LoopBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.register(OLD, promoted=True)
    controller, _ = bench.daemon()
    with monkeypatch.context() as patch:
        patch.setattr(proofs, "add", fails)
        with pytest.raises(StoreUnavailable):
            controller.tick()
    controller.tick()
    with bench.store.read() as read:
        assert set(proofs.latest(read, OLD)) == {"replica-0", "replica-1"}


def test_a_person_promotes_past_the_statistics_but_not_past_the_proof(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(5):
        controller.tick()
    assert controller.promote(ME)["phase"] == "probation"
    for replica in bench.host.replicas:
        replica.restart()
    bench.host.without_effect.add(NEW)
    with pytest.raises(Refused, match="not proved"):
        controller.promote(ME)
    bench.host.without_effect.clear()
    assert controller.promote(ME)["phase"] == "promoted"
    assert all(r.proved[NEW] for r in bench.host.replicas)


def test_a_lease_is_renewed_although_the_clock_was_set_back() -> None:
    now = 5000.0
    host = FakeHost([FakeReplica("replica-0")])
    routing = Routing(host, "support", "support", lambda: now)
    split = Split(rollout="r1", candidate=NEW, share=0.1, lease_s=30.0)
    routing.serve(IDENTITY, split, generation=0, actor="daemon", reason="canary_small")
    assert not routing.renew(10.0)
    now = 1000.0
    assert routing.renew(10.0)


def test_a_heartbeat_from_the_future_does_not_keep_a_job_that_long(store: Store) -> None:
    with store.begin() as tx:
        jobs.create(tx, job="j", cycle="c", spec={}, max_attempts=3, at=0.0)
        jobs.claim(tx, "worker", now=4000.0)
        assert jobs.expire(tx, now=100.0, lease_s=15.0) == []
        assert [job.state for job in jobs.expire(tx, now=116.0, lease_s=15.0)] == ["queued"]


def test_the_newest_promotion_is_the_top_of_the_stack_although_the_clock_was_set_back(bench: LoopBench) -> None:
    bench.register(OLD, NEW)
    with bench.store.begin() as tx:
        versions.promote(tx, OLD, 5000.0)
        versions.promote(tx, NEW, 1000.0)
        assert [v.version for v in versions.promoted_stack(tx, "support")] == [NEW, OLD]


def test_the_control_of_a_rollout_is_what_the_route_serves(bench: LoopBench) -> None:
    bench.register(OLD, NEW, promoted=True)
    bench.register("support-cccccccccccc")
    found = cycles.Cycle("c1", "support", "manual", "gating", True, "trained", {}, 0.0, 0.0)
    for control, expected in ((OLD, OLD), (IDENTITY, IDENTITY), (NEW, NEW)):
        route = route_file(3, control, "rollback:x").routes[0]
        start = RolloutStart(bench.config(), IDENTITY, lambda route=route: route, lambda: 1.0)
        with bench.store.begin() as tx:
            name = start.start(tx, found, "support-cccccccccccc")
            row = rollouts.get(tx, name)
            assert row is not None
            assert row.control == expected
            rollouts.update_phase(tx, name, phase="aborted", reason="over", at=1.0, ended=True)


def test_a_version_that_may_not_start_ends_its_cycle_with_the_reason(bench: LoopBench) -> None:
    """Trained again on the same buffer it is the same version, and denied."""
    bench.register(NEW)
    data: Mapping[str, Any] = {"version": NEW, "overrides": {}, "slice": None}
    with bench.store.begin() as tx:
        cycles.create(
            tx, cycle="c1", deployment="support", cause="manual", phase="gating", reason="trained", data=data, at=1.0
        )
        denials.deny(tx, "support", NEW, reason="rolled_back:reward_harm", actor="daemon", at=1.0)
    nobody: Any = SimpleNamespace()
    gate: Any = PassedGate()
    learning = Learning(
        bench.config(),
        bench.store,
        nobody,
        nobody,
        gate,
        RolloutStart(bench.config(), IDENTITY, lambda: None, lambda: 2.0).start,
        lambda _cycle, _result: Outlook(0.5, 0.5, 1.0, 0.1, 10.0),
        lambda: None,
        lambda: 2.0,
        Metrics(CollectorRegistry()),
    )
    learning.tick(None, False, False)
    with bench.store.read() as read:
        row = cycles.get(read, "c1")
        said = [e.reason for e in ledger.of_subject(read, "c1")]
    assert row is not None
    assert (row.phase, row.reason, row.active) == ("stopped", "denied_version", False)
    assert said[-1] == "denied_version"
