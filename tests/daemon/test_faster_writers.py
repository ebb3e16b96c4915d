"""Two who change the route at once, a file that is gone, and hosts whose words no command of ours would write."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.route_write import hold
from daemon.routing import Routing, View
from daemon.store import StoreUnavailable, fences, ledger, rollouts
from daemon.store.ledger import Entry
from deploy.rollout import LIVE, Phase
from deploy.routes import Holdback, Route, RouteFile, Split
from tests.daemon.going_back import OLDEST, denied, fails, in_canary, once, route_file, serving, started
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow


def entries(bench: LoopBench, kind: str) -> list[Entry]:
    """The ledger's, of one kind."""
    with bench.store.read() as read:
        return [e for e in ledger.after(read, 0, 1000) if e.kind == kind]


def as_others_read_it(bench: LoopBench, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """``act`` happens after the next look at the route, before what is decided by it."""
    look, waiting = Routing.view, [act]

    def view(self: Routing) -> View:
        at = look(self)
        if waiting:
            waiting.pop()()
        return at

    monkeypatch.setattr(Routing, "view", view)


def split_file(epoch: int, control: str, reason: str) -> RouteFile:
    """A share for the candidate, beside another control."""
    split = Split(rollout="r1", candidate=NEW, share=0.1, lease_s=30.0, lease_seq=9)
    route = Route(deployment="support", alias="support", control=control, split=split)
    return RouteFile(epoch=epoch, actor="operator", reason=reason, written_at=0.0, routes=(route,))


def test_of_two_rollbacks_at_once_the_second_decides_by_what_the_first_has_written(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    for replica in bench.host.replicas:
        replica.models.add(OLDEST)
        replica.proved[OLDEST] = True
    controller.tick()
    as_others_read_it(bench, monkeypatch, lambda: controller.rollback(ME, OLDEST, False))
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, OLDEST)
    controller.tick()
    assert serving(bench) == OLDEST
    assert denied(bench) == {NEW, OLD}


def test_a_rollback_that_finds_three_steps_at_the_host_records_the_one_that_nobody_saw(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    for epoch, to, left in ((7, OLD, NEW), (8, OLDEST, OLD), (9, IDENTITY, OLDEST)):
        bench.host.write_route(route_file(epoch, to, f"rollback:{left}"))
    monkeypatch.setattr(fences, "adopt", once(fences.adopt))
    controller.rollback(ME, None, False)
    controller.tick()
    assert serving(bench) == IDENTITY
    assert denied(bench) == {NEW, OLD, OLDEST}


def test_a_rollout_ends_although_its_candidate_was_left_by_the_rollback_before(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    with bench.store.begin() as tx:
        row = rollouts.active(tx, "support")
        assert row is not None
        phase = Phase.AWAITING_SECOND_PROBATION.value
        rollouts.update_phase(tx, "r1", phase=phase, reason="test", at=bench.now, data=row.data)
    bench.register(NEW, promoted=True)
    bench.host.write_route(route_file(50, NEW, "promoted"))
    controller.tick()
    bench.host.write_route(route_file(60, OLDEST, f"rollback:{NEW}"))
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        with pytest.raises(Exception, match="disk is full"):
            controller.tick()
    controller.rollback(ME, None, False)
    for _ in range(3):
        controller.tick()
    assert bench.phase() is Phase.ROLLED_BACK
    assert serving(bench) == IDENTITY
    assert NEW in denied(bench)


def test_a_move_records_no_epoch_of_a_rollback_whose_rows_are_still_to_come(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.register(OLDEST, OLD, promoted=True)
    bench.host.write_route(route_file(1, OLD, "promoted"))
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    while bench.phase() is not Phase.PROVING:
        controller.tick()
    update = rollouts.update_phase

    def with_a_rollback(tx: Any, rollout: str, **more: Any) -> None:
        monkeypatch.setattr(rollouts, "update_phase", update)
        routing = controller._p.routing  # pyright: ignore[reportPrivateUsage]
        reason = f"rollback:{OLD}"
        routing.serve(OLDEST, None, generation=routing.generation, actor="tester", reason=reason, leaving=(OLD,))
        update(tx, rollout, **more)

    monkeypatch.setattr(rollouts, "update_phase", with_a_rollback)
    controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    controller.tick()
    assert serving(bench) == OLDEST
    assert OLD in denied(bench)
    assert Phase(bench.phase()) not in LIVE


def test_a_rollout_whose_control_was_left_at_the_host_ends_and_so_does_its_share(bench: LoopBench) -> None:
    controller = in_canary(bench)
    bench.host.write_route(split_file(70, OLDEST, f"rollback:{OLD}"))
    controller.tick()
    controller.tick()
    assert bench.phase() is Phase.ABORTED
    assert denied(bench) == {OLD}
    route = None if bench.host.route is None else bench.host.route.route("support")
    assert route is not None
    assert (route.control, route.split) == (OLDEST, None)


def test_a_candidate_that_somebody_gave_everything_by_hand_denies_nobody(bench: LoopBench) -> None:
    controller = in_canary(bench)
    bench.host.write_route(route_file(70, NEW, "by hand"))
    controller.tick()
    assert denied(bench) == set()


def test_after_a_rollback_to_the_base_at_the_host_there_is_nothing_to_leave(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bare = RouteFile(epoch=9, actor="operator", reason=f"rollback:{NEW}", written_at=0.0, routes=())
    bench.host.write_route(bare)
    controller.tick()
    assert denied(bench) == {NEW}
    assert controller.status()["champion"] is None
    with pytest.raises(Exception, match="nothing to roll back"):
        controller.rollback(ME, None, False)


def test_a_holdback_that_a_crash_cuts_off_before_the_first_share_ends_no_rollout(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.register(OLD, promoted=True)
    bench.host.write_route(route_file(1, OLD, "promoted"))
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    while bench.phase() is not Phase.CANARY_SMALL:
        controller.tick()
        bench.now += 10.0
    file = bench.host.route
    route = None if file is None else file.route("support")
    assert route is not None
    assert route.split is None, "its phase is recorded before its share is routed"
    routing = Routing(bench.host, "support", "support", lambda: bench.now)
    routing.adopt(file)
    anchor = Holdback(id="holdback-1", anchor=IDENTITY, share=0.02)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        with pytest.raises(StoreUnavailable):
            hold(bench.store, routing, "support", anchor, "holdback_started", routing.generation, lambda: bench.now)
    again, _ = bench.daemon()
    again.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    assert denied(bench) == set()


def test_a_route_file_that_the_host_has_lost_is_written_again(bench: LoopBench) -> None:
    controller = started(bench, OLD, NEW)
    held = bench.host.route
    bench.host.route = None
    controller.tick()
    assert bench.host.route == held
    assert [e.reason for e in entries(bench, "route")] == ["restored_on_host"]


def test_a_daemon_that_finds_no_file_writes_above_what_the_gateways_have(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, None, False)
    newest = bench.host.route
    assert newest is not None
    bench.host.route = None
    again, _ = bench.daemon()
    again.start()
    answer = again.rollback(ME, None, False)
    assert answer["epoch"] > newest.epoch
