"""Whole rollouts through the controller: every end, every mode, every command, and what the host is left with."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from daemon.controller import Controller
from daemon.faults import Refused
from daemon.ingest import Ingest
from daemon.live_evidence import restore
from daemon.store import Store, denials, ledger, rollouts, units
from deploy.processes import Path as EvidencePath
from deploy.processes import UnitEvent, fold
from deploy.rollout import FINAL, Phase, Signal, replay
from deploy.verdict import numbers
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench, drain


def run(
    bench: LoopBench,
    controller: Controller,
    ingest: Ingest,
    until: Callable[[Phase], bool],
    good: float = 0.95,
    bad: float = 0.5,
    rounds: int = 400,
) -> Phase:
    """Ticks and traffic in turn until the phase fits."""
    rng = random.Random(5)
    for _ in range(rounds):
        controller.tick()
        phase = bench.phase()
        if until(phase):
            return phase
        bench.traffic(25, good, bad, rng)
        drain(ingest)
        bench.now += 2.0
    raise AssertionError(f"still in {bench.phase()}")


def ended(phase: Phase) -> bool:
    return phase in FINAL


@pytest.mark.slow
def test_a_better_candidate_is_promoted_and_the_way_is_in_the_ledger(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, ingest = bench.daemon()
    assert run(bench, controller, ingest, ended) is Phase.PROMOTED
    controller.tick()
    status = controller.status()
    assert (status["champion"], status["previous"], status["rollout"]) == (NEW, IDENTITY, None)
    assert bench.host.route is not None
    route = bench.host.route.route("support")
    assert route is not None
    assert (route.control, route.split) == (NEW, None)
    with bench.store.read() as read:
        moves = [e.data["signal"] for e in ledger.of_subject(read, "r1") if e.kind == "rollout"]
    assert replay(Signal(m) for m in moves) is Phase.PROMOTED


@pytest.mark.slow
def test_every_recorded_verdict_is_recomputed_from_its_units(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, ingest = bench.daemon()
    run(bench, controller, ingest, ended)
    with bench.store.read() as read:
        row = rollouts.get(read, "r1")
        assert row is not None
        stored = {u.seq: u for u in units.of_rollout(read, "r1")}
        events = units.events_of(read, "r1")
        recorded = [e for e in ledger.of_subject(read, "r1") if e.data.get("signal") in ("step_passed", "no_harm")]
        assert restore(read, row).rollout == "r1"
    assert len(recorded) == 3
    for entry in recorded:
        # what had been counted when the verdict was written: as many units and rewards as it says
        upto: list[UnitEvent] = []
        for e in events:
            u = stored[e.unit]
            upto.append(
                UnitEvent(
                    e.seq, EvidencePath(e.path), e.unit, u.arm == "canary", u.propensity, e.value, u.in_slice, e.at
                )
            )
            if numbers(fold(upto, bench.rollout_config))["units"] > entry.data["units"]:
                upto.pop()
                break
        seen = [numbers(fold(upto[:n], bench.rollout_config)) for n in range(len(upto), max(len(upto) - 80, 0), -1)]
        same = [s for s in seen if all(s[k] == entry.data[k] for k in s if k in entry.data)]
        assert same, f"no prefix of the recorded units gives the verdict {entry.reason} of {entry.data['to_phase']}"


@pytest.mark.slow
def test_a_harmful_candidate_is_rolled_back_denied_and_never_routed_again(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, ingest = bench.daemon()
    assert run(bench, controller, ingest, ended, good=0.2, bad=0.9) is Phase.ROLLED_BACK
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)
    before = len(bench.host.history)
    for _ in range(5):
        controller.tick()
    assert all(r.split is None and r.control != NEW for f in bench.host.history[before:] for r in f.routes)
    assert controller.status()["route"]["candidate"] is None


def test_no_feedback_ends_inconclusive_at_the_deadline(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    bench.now += bench.rollout_config.deadline_s
    controller.tick()
    assert bench.phase() is Phase.INCONCLUSIVE
    assert controller.status()["route"]["candidate"] is None


def test_a_version_without_effect_is_denied_before_any_traffic(bench: LoopBench) -> None:
    bench.host.without_effect.add(NEW)
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() is Phase.DENIED
    assert all(r.split is None for f in bench.host.history for r in f.routes)


def test_a_dead_replica_holds_nobody_up_while_another_is_alive(bench: LoopBench) -> None:
    bench.host.replicas[1].alive = False
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL


def test_a_restarted_replica_gets_its_adapters_back(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    bench.host.replicas[1].restart()
    controller.tick()
    assert {IDENTITY, NEW} <= bench.host.replicas[1].models
    assert bench.host.replicas[1].proved == {IDENTITY: True, NEW: True}


@pytest.mark.parametrize(
    ("mode", "stop"), [("propose", Phase.AWAITING_CANARY), ("canary", Phase.CANARY_SMALL), ("auto", Phase.CANARY_SMALL)]
)
def test_each_mode_goes_as_far_as_it_may(bench: LoopBench, mode: str, stop: Phase) -> None:
    bench.mode = mode
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(8):
        controller.tick()
    assert bench.phase() is stop
    if stop is Phase.AWAITING_CANARY:
        assert bench.reason() == "mode_asks_for_a_person"
        assert controller.approve(ME)["phase"] == "canary_small"


@pytest.mark.slow
def test_in_mode_canary_a_person_promotes(bench: LoopBench) -> None:
    bench.mode = "canary"
    bench.open_rollout()
    controller, ingest = bench.daemon()
    run(bench, controller, ingest, lambda p: p is Phase.AWAITING_PROMOTION)
    assert bench.reason() == "mode_asks_for_a_person"
    controller.approve(ME)
    assert (bench.phase(), bench.reason()) == (Phase.PROBATION, "approved")


def test_observe_writes_nothing_and_refuses_commands(bench: LoopBench) -> None:
    bench.mode = "observe"
    controller, _ = bench.daemon()
    for _ in range(3):
        controller.tick()
    assert bench.host.history == []
    assert all(not r.models for r in bench.host.replicas)
    for command in (
        lambda: controller.rollback(ME, None, False),
        lambda: controller.promote(ME),
        lambda: controller.adapt(ME, {}),
    ):
        with pytest.raises(Refused, match="observe"):
            command()


def test_rollback_in_a_canary_leaves_the_candidate_for_good(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, IDENTITY)
    assert bench.phase() is Phase.ROLLED_BACK
    for _ in range(3):
        controller.tick()
    assert controller.status()["route"]["candidate"] is None
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)


def serving(bench: LoopBench, *stack: str) -> Controller:
    """A daemon whose stack was promoted in this order and whose top serves."""
    bench.register(*stack, promoted=True)
    controller, _ = bench.daemon()
    controller.tick()
    bench.host.now = bench.now
    from deploy.routes import Route, RouteFile

    route = Route(deployment="support", alias="support", control=stack[-1])
    bench.host.write_route(RouteFile(epoch=50, actor="daemon", reason="promoted", written_at=0.0, routes=(route,)))
    controller, _ = bench.daemon()
    controller.tick()
    return controller


def test_rollback_goes_down_the_stack_to_identity_and_no_further(bench: LoopBench) -> None:
    controller = serving(bench, OLD, NEW)
    assert controller.rollback(ME, None, False)["to"] == OLD
    controller.tick()
    assert controller.rollback(ME, None, False)["to"] == IDENTITY
    controller.tick()
    with pytest.raises(Refused, match="nothing to roll back"):
        controller.rollback(ME, None, False)


def test_rollback_to_a_named_target(bench: LoopBench) -> None:
    controller = serving(bench, OLD, NEW)
    with pytest.raises(Refused, match="no rollback target"):
        controller.rollback(ME, "support-cccccccccccc", False)
    assert controller.rollback(ME, IDENTITY, False)["to"] == IDENTITY
    controller.tick()
    status = controller.status()
    assert status["route"]["control"] == IDENTITY


def test_rollback_with_the_store_down_writes_the_route_and_the_rows_follow(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = serving(bench, OLD, NEW)

    def broken(*_: object) -> None:
        from daemon.store.open import StoreUnavailable

        raise StoreUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "begin", broken)
        answer = controller.rollback(ME, None, False)
    assert answer["recorded"] is False
    assert bench.host.route is not None
    assert bench.host.route.routes[0].control == OLD
    controller.tick()
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)
        assert not denials.is_denied(read, OLD)


def test_a_rollback_done_at_the_agent_while_the_daemon_was_dead_is_adopted(bench: LoopBench) -> None:
    serving(bench, OLD, NEW)
    assert bench.host.route is not None
    from deploy.routes import Route

    there = Route(deployment="support", alias="support", control=OLD)
    update = {"epoch": 99, "actor": "anna", "reason": f"rollback:{NEW}", "routes": (there,)}
    bench.host.write_route(bench.host.route.model_copy(update=update))
    controller, _ = bench.daemon()
    controller.tick()
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)
    assert controller.status()["champion"] == OLD
    assert controller.rollback(ME, None, False)["epoch"] > 99


def test_pause_holds_steps_but_not_the_way_back(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(2):
        controller.tick()
    controller.pause(ME)
    for _ in range(4):
        controller.tick()
    assert bench.phase() is Phase.PROVING
    controller.resume(ME)
    controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL


def test_the_lease_is_renewed_and_goes_on_over_the_ramp(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
        bench.now += 2.0
    seqs = [f.routes[0].split.lease_seq for f in bench.host.history if f.routes[0].split]
    assert seqs == sorted(seqs)
    assert seqs[-1] > seqs[0]
    controller.promote(ME)
    controller.tick()
    after = [f.routes[0].split.lease_seq for f in bench.host.history if f.routes[0].split]
    assert after[-1] > seqs[-1]


def test_abort_ends_the_rollout_and_keeps_the_champion(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert controller.abort(ME)["phase"] == "aborted"
    assert controller.status()["route"]["candidate"] is None
    with pytest.raises(Refused, match="nothing to abort"):
        controller.abort(ME)
