"""A promoted version that is suspected is compared with the one before it once more: back for harm, else the world."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon import freeze
from daemon.controller import Controller
from daemon.cycle_standing import standing_now
from daemon.explain import alarms as told_alarms
from daemon.explain import rollouts as told_rollouts
from daemon.faults import Refused
from daemon.holdback import record
from daemon.ingest import Ingest
from daemon.learning import Learning
from daemon.promotion_budget import next_config
from daemon.store import (
    Store,
    StoreUnavailable,
    alarms,
    counters,
    cycles,
    denials,
    exchanges,
    ledger,
    rollouts,
    versions,
)
from deploy.driver_errors import LoadRejected
from deploy.rollout import BEGINS, FINAL, Phase, Signal, replay
from deploy.routes import Route, RouteFile
from tests.daemon.going_back import no_store
from tests.daemon.ingest_bench import CountingWatch
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench, drain

SETTINGS = """
rollout: {maturity_s: 10.0, lateness_s: 1.0, lease_s: 5.0, deadline_s: 5000.0, probation_units: 200, probation_s: 900.0}
cycle: {cooldown_s: 40.0, reward_grace_s: 0.0}
"""


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> LoopBench:
    """``NEW`` was promoted over ``OLD`` for alarm a0; alarm a9 says that known questions are answered worse since."""
    made = LoopBench(tmp_path, store, more=SETTINGS)
    made.register(OLD, NEW, promoted=True)
    suspected(made)
    return made


def suspected(bench: LoopBench, control: str = OLD) -> None:
    """The promotion's rows, its route and the alarm after it."""
    now = bench.now
    config = {"config": bench.config().rollout.model_dump(mode="json"), "slice": None, "cycle": "c0"}
    with bench.store.begin() as tx:
        row = (control, "a0", Phase.PROMOTED.value, False, "no_harm_in_probation", config)
        rollouts.create(tx, rollouts.Rollout("r0", "support", NEW, *row, now - 90.0, now - 50.0, now, now - 50.0))
        data: dict[str, Any] = {"rollout": "r0", "overrides": {}}
        cycles.create(
            tx, cycle="c0", deployment="support", cause="a0", phase="rolling", reason="x", data=data, at=now - 99.0
        )
        cycles.update_phase(tx, "c0", phase="done", reason="rollout_promoted", data=data, at=now - 50.0, active=False)
        for name, kind, cause, at in (
            ("a0", "input", "new_inputs", now - 100.0),
            ("a9", "reward", "changed_answers", now - 1.0),
        ):
            body = {"evidence": {"cause": cause}, "slice": None}
            alarms.insert_new(tx, [alarms.AlarmRow(name, "support", kind, "e_sr", True, True, at, body)])
        alarms.answer(tx, "a0", "c0")
    route = Route(deployment="support", alias="support", control=NEW)
    bench.host.write_route(RouteFile(epoch=3, actor="daemon", reason="promoted", written_at=0.0, routes=(route,)))


def opened(bench: LoopBench) -> rollouts.Rollout:
    """The newest rollout."""
    with bench.store.read() as read:
        return rollouts.newest(read, "support", 1)[0]


def route_of(bench: LoopBench) -> Route:
    assert bench.host.route is not None
    found = bench.host.route.route("support")
    assert found is not None
    return found


def begun(bench: LoopBench, ticks: int = 3) -> tuple[Controller, Ingest]:
    """A daemon some ticks after the alarm."""
    controller, ingest = bench.daemon()
    for _ in range(ticks):
        controller.tick()
    return controller, ingest


def run(bench: LoopBench, controller: Controller, ingest: Ingest, good: float, bad: float) -> rollouts.Rollout:
    """Ticks and traffic in turn until the comparison is over."""
    rng, row = random.Random(3), opened(bench)
    for _ in range(60):
        bench.traffic(25, good, bad, rng, row.id)
        drain(ingest)
        bench.now += 2.0
        controller.tick()
        row = opened(bench)
        if Phase(row.phase) in FINAL:
            controller.tick()
            return row
    raise AssertionError(f"still in {row.phase}")


def relearned(bench: LoopBench, ingest: Ingest) -> int:
    """How often the level of rewards was learned anew; those of the version before were kept from it."""
    assert isinstance(ingest.watch, CountingWatch)
    with bench.store.read() as read:
        counted = counters.get_all(read)
        shown = exchanges.get_many(read, [name for name, _ in ingest.watch.rewards])
    assert {x.version for x in shown.values()} == {NEW}, "a canary's, which the watch leaves to the rollout"
    assert counted["rewards_of_other_versions"] + len(shown) == counted["joined"]
    return ingest.watch.relearned


def answer(bench: LoopBench, alarm: str = "a9") -> str | None:
    with bench.store.read() as read:
        row = alarms.get(read, alarm)
    assert row is not None
    return row.answer


def test_the_champion_is_the_candidate_against_the_version_before_it(bench: LoopBench) -> None:
    controller, _ = begun(bench)
    row, route = opened(bench), route_of(bench)
    assert (row.candidate, row.control, row.phase, row.cause) == (NEW, OLD, "second_probation", "a9")
    assert route.split is not None
    assert (route.control, route.split.candidate, route.split.share) == (OLD, NEW, 0.5), "expiry leaves the suspect"
    assert controller.status()["rollout"]["share"] == 0.5
    with bench.store.read() as read:
        cycle = cycles.active(read, "support")
        assert cycle is not None and (cycle.phase, cycle.reason) == ("rolling", "second_probation")
        entries = [e for e in ledger.of_subject(read, row.id) if e.kind == "rollout"]
        assert [(e.reason, e.data["to_phase"]) for e in entries] == [("second_probation", "second_probation")]
        assert next_config(read, "support", bench.config().rollout, bench.now).alpha_promote == 0.05
        told = told_rollouts.explain(read, row, bench.now)
    assert "in a second probation" in told.title
    assert any(line.startswith("Without a verdict it ends kept") for line in told.next)
    with pytest.raises(Refused):
        controller.adapt(ME, {})


def test_a_rollback_between_the_rows_of_a_second_probation_and_its_share_leaves_the_champion(bench: LoopBench) -> None:
    controller, _ = begun(bench, ticks=1)
    assert (opened(bench).phase, route_of(bench).split) == ("second_probation", None)
    gone = controller.rollback(ME, None, False)
    assert (gone["from"], gone["to"]) == (NEW, OLD)
    assert (opened(bench).phase, route_of(bench).control) == ("rolled_back", OLD)


def test_a_champion_that_stays_is_what_a_rollback_leaves_before_its_rows_are_written(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, _ = begun(bench)
    with monkeypatch.context() as patch:
        patch.setattr(rollouts, "update_phase", no_store)
        with pytest.raises(StoreUnavailable):
            controller.abort(ME)
    assert route_of(bench).control == NEW
    gone = controller.rollback(ME, None, False)
    assert (gone["from"], gone["to"]) == (NEW, OLD)
    controller.tick()
    with bench.store.read() as read:
        assert set(denials.of_deployment(read, "support")) == {NEW}
    assert (opened(bench).phase, route_of(bench).control) == ("rolled_back", OLD)


@pytest.mark.slow
def test_harm_goes_back_and_counts_as_any_rollback(bench: LoopBench) -> None:
    controller, ingest = begun(bench)
    row = run(bench, controller, ingest, good=0.2, bad=0.9)
    assert relearned(bench, ingest) == 1, "then the usual level is that of the version before"
    assert (row.phase, row.reason) == ("rolled_back", "reward_harm")
    route = route_of(bench)
    assert (route.control, route.split) == (OLD, None)
    status = controller.status()
    assert (status["champion"], status["previous"]) == (OLD, IDENTITY)
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)
        assert freeze.rollbacks(read, "support") == 1
        cycle = cycles.newest(read, "support", 1)[0]
        moves = [e.data.get("signal") for e in ledger.of_subject(read, row.id) if e.kind == "rollout"][1:]
    assert (cycle.reason, answer(bench)) == ("rollout_rolled_back", cycle.id)
    assert answer(bench, "a0") is None, "what it was trained for is unanswered again"
    assert replay([Signal(m) for m in moves], BEGINS["second_probation"]) is Phase.ROLLED_BACK


@pytest.mark.slow
def test_without_harm_it_stays_and_the_alarm_goes_on_to_its_next_action(bench: LoopBench) -> None:
    controller, ingest = begun(bench)
    rebased = ingest.rebased_for()
    row = run(bench, controller, ingest, good=0.5, bad=0.5)
    assert relearned(bench, ingest) == 0
    assert (row.phase, row.reason) == ("kept", "no_harm_in_second_probation")
    route = route_of(bench)
    assert (route.control, route.split) == (NEW, None)
    assert ingest.rebased_for() == rebased == "r0", "a new reference would swallow the drift"
    with bench.store.read() as read:
        cycle = cycles.active(read, "support")
        champion = versions.promoted_stack(read, "support")[0]
    assert champion.version == NEW and champion.promoted_at == 1.0, "nothing was promoted"
    assert cycle is not None and cycle.cause in ("a9", "a1") and cycle.phase == "collecting", "and no cooldown"
    assert "second_probation_over" in cycle.data["passed_over"] or cycle.cause == "a1"


def test_a_promotion_has_one_second_probation(bench: LoopBench) -> None:
    controller, _ = begun(bench)
    controller.abort(ME)
    assert (opened(bench).phase, opened(bench).reason) == ("kept", "aborted_by_person")
    first = opened(bench).id
    with bench.store.read() as read:
        assert standing_now(read, bench.config()).no_second_probation == "second_probation_over"
    for _ in range(3):
        controller.tick()
    assert opened(bench).id == first
    with bench.store.read() as read:
        cycle = cycles.active(read, "support")
    assert cycle is not None and cycle.data["passed_over"] == ["second_probation_over"]
    assert answer(bench) == cycle.id


def test_nothing_is_compared_where_the_promoted_version_was_left(bench: LoopBench) -> None:
    with bench.store.begin() as tx:
        denials.deny(tx, "support", NEW, reason="rolled_back:by_person", actor="ann", at=bench.now)
        versions.set_status(tx, NEW, "denied")
    route = Route(deployment="support", alias="support", control=OLD)
    bench.host.write_route(RouteFile(epoch=9, actor="ann", reason="x", written_at=0.0, routes=(route,)))
    begun(bench)
    assert opened(bench).id == "r0"


def test_a_person_who_rolls_back_meanwhile_leaves_the_champion(bench: LoopBench) -> None:
    controller, _ = begun(bench)
    told = controller.rollback(ME, None, False)
    assert (told["from"], told["to"]) == (NEW, OLD)
    assert (opened(bench).phase, opened(bench).reason) == ("rolled_back", "rollback_by_person")
    assert (route_of(bench).control, route_of(bench).split) == (OLD, None)
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW) and not denials.is_denied(read, OLD)


@pytest.mark.parametrize("to", [None, IDENTITY])
def test_a_person_rolls_back_before_the_share_is_there(bench: LoopBench, to: str | None) -> None:
    controller, _ = begun(bench, ticks=1)
    assert (opened(bench).phase, route_of(bench).split) == ("second_probation", None)
    controller.rollback(ME, to, False)
    assert opened(bench).phase == "rolled_back"
    for _ in range(3):
        controller.tick()
    assert route_of(bench).control == (to or OLD)
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW) and denials.is_denied(read, OLD) is (to is not None)


def test_too_few_ratings_end_at_twice_the_hours_and_only_where_every_replica_has_it(bench: LoopBench) -> None:
    controller, _ = begun(bench)
    row = opened(bench)
    assert row.deadline - row.started_at == 1800.0
    bench.now += 900.0
    controller.tick()
    with bench.store.read() as read:
        again = rollouts.get(read, row.id)
    assert again is not None and again.data["waiting"] == "too_few_units_in_second_probation"
    bench.now += 900.0
    bench.host.replicas[1].restart()
    bench.host.without_effect.add(NEW)
    controller.tick()
    assert opened(bench).phase == "rolled_back", "a proof of the champion that is wrong is harm"


def test_a_replica_that_lost_the_champion_holds_its_end_up(bench: LoopBench, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, _ = begun(bench)
    bench.now += 1800.0
    load: Callable[[str, str], None] = bench.host.ensure_loaded
    bench.host.replicas[1].restart()

    def refuse(version: str, replica: str) -> None:
        if version == NEW:
            raise LoadRejected("replica-1 refused it")
        load(version, replica)

    monkeypatch.setattr(bench.host, "ensure_loaded", refuse)
    controller.tick()
    assert opened(bench).phase == "second_probation", "it would serve where it is not proved"
    with pytest.raises(Refused):
        controller.abort(ME)
    monkeypatch.setattr(bench.host, "ensure_loaded", load)
    controller.tick()
    assert (opened(bench).phase, opened(bench).reason) == ("kept", "deadline")
    assert route_of(bench).control == NEW


def test_in_mode_propose_a_person_decides_whether_it_begins(bench: LoopBench) -> None:
    bench.mode = "propose"
    controller, _ = begun(bench)
    row, epoch = opened(bench), bench.host.route and bench.host.route.epoch
    assert (row.phase, row.reason, row.data["waiting"]) == (
        "awaiting_second_probation", "second_probation_proposed", "awaiting_approval"
    )  # fmt: skip
    assert (route_of(bench).control, route_of(bench).split) == (NEW, None)
    assert bench.host.route is not None and bench.host.route.epoch == epoch
    controller.approve(ME)
    controller.tick()
    assert opened(bench).phase == "second_probation"
    assert route_of(bench).control == OLD and route_of(bench).split is not None


def test_in_mode_propose_a_person_lets_it_be(bench: LoopBench) -> None:
    bench.mode = "propose"
    controller, _ = begun(bench)
    controller.abort(ME)
    assert opened(bench).phase == "kept" and route_of(bench).control == NEW


@pytest.mark.parametrize("direct", [False, True])
def test_a_rollback_of_what_waits_for_a_person_ends_it(bench: LoopBench, direct: bool) -> None:
    bench.mode = "propose"
    controller, _ = begun(bench)
    if direct:
        route = Route(deployment="support", alias="support", control=OLD)
        bench.host.write_route(
            RouteFile(epoch=99, actor="ann", reason=f"rollback:{NEW}", written_at=0.0, routes=(route,))
        )
    else:
        controller.rollback(ME, None, False)
    controller.tick()
    assert opened(bench).phase == "rolled_back"
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW) and not denials.is_denied(read, OLD)
    assert controller.status()["champion"] == OLD


def test_in_mode_canary_the_daemon_begins_it_itself(bench: LoopBench) -> None:
    bench.mode = "canary"
    begun(bench)
    assert opened(bench).phase == "second_probation" and route_of(bench).split is not None


def test_a_holdback_on_the_version_before_goes_on(tmp_path: Path, store: Store) -> None:
    bench = LoopBench(tmp_path, store, more=SETTINGS + "holdback: {share: 0.02}\n")
    bench.register(NEW, promoted=True)
    suspected(bench, IDENTITY)
    with store.begin() as tx:
        alarms.answer(tx, "a9", "later")
    controller, _ = begun(bench)
    held = route_of(bench).holdback
    assert held is not None and held.anchor == IDENTITY
    with store.begin() as tx:
        body = {"evidence": {"cause": "changed_answers"}, "slice": None}
        row = alarms.AlarmRow("a8", "support", "reward", "e_sr", True, True, bench.now, body)
        alarms.insert_new(tx, [row])
    for _ in range(4):
        controller.tick()
    route = route_of(bench)
    assert (route.control, route.holdback) == (IDENTITY, held) and route.split is not None
    controller.abort(ME)
    controller.tick()
    assert (route_of(bench).control, route_of(bench).holdback) == (NEW, held)
    with store.read() as read:
        known = record(read)
    assert known is not None and (known.id, known.ended_at) == (held.id, None)


def test_why_says_before_it_begins_what_will_be_compared(bench: LoopBench) -> None:
    with bench.store.read() as read:
        row = alarms.get(read, "a9")
        assert row is not None
        told = told_alarms.explain(read, row, bench.config(), bench.now)
    assert told.next == (told_alarms.WORDS["second_probation"],)


def test_a_shell_without_rollouts_passes_it_over(bench: LoopBench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Learning] = []
    begin = Learning.__init__

    def without(self: Learning, *args: Any) -> None:
        begin(self, *args[:10])
        made.append(self)

    monkeypatch.setattr(Learning, "__init__", without)
    begun(bench, ticks=1)
    assert opened(bench).id == "r0" and len(made) == 1
    with bench.store.read() as read:
        cycle = cycles.active(read, "support")
    assert cycle is None or "nothing_to_compare" in cycle.data["passed_over"]
