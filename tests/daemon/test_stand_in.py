"""Who serves while no replica has the champion, and that nothing else changes by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.controller import Controller
from daemon.faults import Refused
from daemon.stand_in import REASONS, Decision, Facts, decide
from daemon.store import Store, StoreUnavailable, denials, ledger, rollouts, versions
from deploy.driver_errors import LoadRejected
from deploy.rollout import Phase
from deploy.routes import Route, RouteFile
from tests.daemon.fake_host import FakeHost
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

WAIT_S = 60.0
GONE = Facts(NEW, NEW, False, (OLD, IDENTITY), {NEW: 0, OLD: 1, IDENTITY: 2}, 2)
OLD_SERVES = replace(GONE, serving=OLD, standing_in=True)
ID_SERVES = replace(GONE, serving=IDENTITY, standing_in=True, ready={NEW: 0, OLD: 0, IDENTITY: 2})
BASE_SERVES = replace(GONE, serving=None, standing_in=True, ready={NEW: 0, OLD: 0, IDENTITY: 0})


@pytest.mark.parametrize(
    ("facts", "since", "expected"),
    [
        (replace(GONE, wanted=None, serving=None), None, Decision("base_serves", None)),
        (replace(GONE, ready={NEW: 1}), 0.0, Decision("champion_ready", NEW)),
        (replace(GONE, alive=0, ready={}), 0.0, Decision("no_replica_answers", NEW)),
        (GONE, None, Decision("champion_awaited", NEW, since=100.0)),
        (GONE, 41.0, Decision("champion_awaited", NEW, since=41.0)),
        (GONE, 5000.0, Decision("champion_awaited", NEW, since=100.0)),
        (GONE, 40.0, Decision("champion_away", OLD, True)),
        (replace(GONE, ready={NEW: 0, OLD: 0, IDENTITY: 1}), 40.0, Decision("champion_away", IDENTITY, True)),
        (replace(GONE, ready={}), 40.0, Decision("champion_away", None, True)),
        (replace(GONE, wanted=IDENTITY, serving=IDENTITY, ready={}), 40.0, Decision("champion_away", None, True)),
        (OLD_SERVES, None, Decision("stand_in_serves", OLD)),
        (replace(OLD_SERVES, ready={NEW: 1, OLD: 2}), None, Decision("champion_back", NEW, True)),
        (replace(OLD_SERVES, ready={IDENTITY: 1}), None, Decision("champion_awaited", OLD, since=100.0)),
        (replace(OLD_SERVES, ready={IDENTITY: 1}), 40.0, Decision("champion_away", IDENTITY, True)),
        (ID_SERVES, None, Decision("stand_in_serves", IDENTITY)),
        (replace(ID_SERVES, ready=GONE.ready), None, Decision("champion_away", OLD, True)),
        (BASE_SERVES, None, Decision("stand_in_serves", None)),
        (replace(BASE_SERVES, ready={IDENTITY: 1}), None, Decision("champion_away", IDENTITY, True)),
    ],
)
def test_the_decision_names_its_reason(facts: Facts, since: float | None, expected: Decision) -> None:
    assert decide(facts, since, WAIT_S, 100.0) == expected
    assert expected.reason in REASONS


class Refusing(FakeHost):
    """A host whose servers refuse some versions after a restart."""

    refuses: frozenset[str] = frozenset()

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Load, or refuse."""
        if version in self.refuses:
            raise LoadRejected(f"{replica} refused {version}")
        super().ensure_loaded(version, replica)


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> LoopBench:
    made = LoopBench(tmp_path, store)
    made.host = Refusing(made.host.replicas)
    return made


def lose(bench: LoopBench, *gone: str) -> None:
    """All replicas restart and refuse these from now on."""
    host = bench.host
    assert isinstance(host, Refusing)
    host.refuses = frozenset(gone)
    for replica in host.replicas:
        replica.restart()


def route(bench: LoopBench) -> Route:
    assert bench.host.route is not None
    return bench.host.route.routes[0]


def ticks(bench: LoopBench, seconds: float, step: float = 10.0) -> dict[str, object]:
    """Ticks of a fresh daemon over some time; its status then."""
    controller, _ = bench.daemon()
    controller.tick()
    for _ in range(int(seconds / step)):
        bench.now += step
        controller.tick()
    return controller.status()


def serving(bench: LoopBench) -> None:
    bench.register(OLD, NEW, promoted=True)
    there = Route(deployment="support", alias="support", control=NEW)
    bench.host.write_route(RouteFile(epoch=50, actor="daemon", reason="promoted", written_at=0.0, routes=(there,)))
    ticks(bench, 10.0)


@pytest.mark.slow
def test_previous_stands_in_after_the_wait_and_the_champion_comes_back(bench: LoopBench) -> None:
    serving(bench)
    lose(bench, NEW)
    ticks(bench, 50.0)
    assert (route(bench).control, route(bench).stands_in_for) == (NEW, None)
    status = ticks(bench, 70.0)
    assert (route(bench).control, route(bench).stands_in_for) == (OLD, NEW)
    assert (status["champion"], status["previous"]) == (NEW, OLD)
    with bench.store.read() as read:
        assert denials.of_deployment(read, "support") == {}
        assert [v.version for v in versions.promoted_stack(read, "support")] == [NEW, OLD]
    lose(bench)
    bench.host.replicas[0].alive = False
    ticks(
        bench, 20.0
    )  # a restarted daemon finds the stand-in in the route, and one replica with the champion is enough
    assert (route(bench).control, route(bench).stands_in_for) == (NEW, None)
    with bench.store.read() as read:
        told = [(e.reason, e.data["to"]) for e in ledger.about(read, NEW) if e.kind == "stand_in"]
        assert denials.of_deployment(read, "support") == {}
    assert told == [("champion_away", OLD), ("champion_back", NEW)]


@pytest.mark.slow
def test_the_base_serves_where_nothing_else_loads(bench: LoopBench) -> None:
    serving(bench)
    lose(bench, NEW, OLD, IDENTITY)
    ticks(bench, 70.0)
    assert (route(bench).control, route(bench).stands_in_for) == (None, NEW)
    lose(bench, NEW, OLD)
    ticks(bench, 60.0)
    assert (route(bench).control, route(bench).stands_in_for) == (IDENTITY, NEW)


@pytest.mark.slow
def test_a_rollback_while_another_stands_in_leaves_the_champion(bench: LoopBench) -> None:
    serving(bench)
    lose(bench, NEW)
    ticks(bench, 70.0)
    controller, _ = bench.daemon()
    controller.tick()
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, OLD)
    lose(bench)
    status = ticks(bench, 100.0)
    assert (route(bench).control, route(bench).stands_in_for, status["champion"]) == (OLD, None, OLD)
    with bench.store.read() as read:
        assert set(denials.of_deployment(read, "support")) == {NEW}


@pytest.mark.slow
def test_the_share_of_a_rollout_rests_meanwhile_and_its_row_stays(bench: LoopBench) -> None:
    bench.open_rollout()
    ticks(bench, 60.0)
    assert bench.phase() is Phase.CANARY_SMALL
    lose(bench, IDENTITY)
    ticks(bench, 70.0)
    assert (route(bench).control, route(bench).stands_in_for, route(bench).split) == (None, IDENTITY, None)
    with bench.store.read() as read:
        row = rollouts.get(read, "r1")
    assert row is not None and (row.phase, row.active) == ("canary_small", True)
    assert row.data["waiting"] == "control_load_rejected"
    lose(bench)
    ticks(bench, 10.0)
    split = route(bench).split
    assert (route(bench).control, route(bench).stands_in_for) == (IDENTITY, None)
    assert split is not None and split.candidate == NEW


def resting(bench: LoopBench, control: str) -> Controller:
    """A daemon in a canary of ``NEW`` whose control no replica has, so that another version stands in for it."""
    if control != IDENTITY:
        bench.register(control, promoted=True)
        there = Route(deployment="support", alias="support", control=control)
        bench.host.write_route(RouteFile(epoch=50, actor="daemon", reason="promoted", written_at=0.0, routes=(there,)))
    bench.open_rollout(control=control)
    ticks(bench, 60.0)
    assert bench.phase() is Phase.CANARY_SMALL
    lose(bench, control)
    ticks(bench, 70.0)
    assert (route(bench).stands_in_for, route(bench).split) == (control, None)
    controller, _ = bench.daemon()
    controller.tick()
    return controller


@pytest.mark.slow
@pytest.mark.parametrize("store_fails", [False, True])
@pytest.mark.parametrize(("control", "stand_in"), [(OLD, IDENTITY), (IDENTITY, None)])
def test_a_rollback_while_the_share_rests_leaves_the_candidate(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch, control: str, stand_in: str | None, store_fails: bool
) -> None:
    controller = resting(bench, control)

    def fails(*_args: object, **_more: object) -> None:
        raise StoreUnavailable("disk full")

    with monkeypatch.context() as patch:
        if store_fails:
            patch.setattr(bench.store, "begin", fails)
            patch.setattr(bench.store, "read", fails)
        answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"], "recorded" in answer) == (NEW, control, store_fails)
    assert (route(bench).control, route(bench).stands_in_for) == (stand_in, control), "nobody has the control yet"
    controller.tick()
    with bench.store.read() as read:
        assert set(denials.of_deployment(read, "support")) == {NEW}
    assert bench.phase() is Phase.ROLLED_BACK
    lose(bench)
    ticks(bench, 30.0)
    assert (route(bench).control, route(bench).stands_in_for, route(bench).split) == (control, None, None)


@pytest.mark.slow
def test_a_rollback_while_the_share_rests_is_refused_the_control_that_nobody_has(bench: LoopBench) -> None:
    controller = resting(bench, OLD)
    with pytest.raises(Refused) as refused:
        controller.rollback(ME, OLD, False)
    assert refused.value.reason == "target_not_resident"
    assert controller.rollback(ME, IDENTITY, False)["from"] == NEW
    assert (route(bench).control, route(bench).stands_in_for) == (IDENTITY, None)
    with bench.store.read() as read:
        assert set(denials.of_deployment(read, "support")) == {NEW, OLD}, "a named target leaves all above it"


@pytest.mark.slow
def test_a_faster_rollback_at_the_host_while_the_share_rests_is_the_same_wish(bench: LoopBench) -> None:
    controller = resting(bench, OLD)
    there = Route(deployment="support", alias="support", control=IDENTITY, stands_in_for=OLD)
    assert bench.host.route is not None
    newer = RouteFile(
        epoch=bench.host.route.epoch + 1, actor="me", reason=f"rollback:{NEW}", written_at=0.0, routes=(there,)
    )
    bench.host.write_route(newer)
    assert controller.rollback(ME, None, False)["from"] == NEW
    controller.tick()
    with bench.store.read() as read:
        assert set(denials.of_deployment(read, "support")) == {NEW}
    assert bench.phase() is Phase.ROLLED_BACK


@pytest.mark.slow
def test_the_end_of_a_rollout_does_not_bring_back_a_control_that_nobody_has(bench: LoopBench) -> None:
    bench.open_rollout()
    ticks(bench, 60.0)
    lose(bench, IDENTITY)
    ticks(bench, 70.0)
    bench.now += bench.rollout_config.deadline_s
    ticks(bench, 0.0)
    assert bench.phase() is Phase.INCONCLUSIVE
    assert (route(bench).control, route(bench).stands_in_for) == (None, IDENTITY)


@pytest.mark.slow
def test_a_replica_that_lost_the_champion_while_another_has_it_changes_nothing(bench: LoopBench) -> None:
    serving(bench)
    host = bench.host
    assert isinstance(host, Refusing)
    host.refuses = frozenset({NEW})
    host.replicas[0].restart()
    ticks(bench, 300.0, step=50.0)
    assert (route(bench).control, route(bench).stands_in_for) == (NEW, None)
