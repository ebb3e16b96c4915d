"""What may be given users: proved, promoted past the statistics alone, and beside the control that the route has."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from daemon.faults import Refused
from daemon.learning import Learning
from daemon.rollout_start import RolloutStart
from daemon.store import Store, StoreUnavailable, cycles, denials, ledger, proofs, rollouts
from deploy.power import Outlook
from monitors.metrics import Metrics
from tests.daemon.going_back import (
    PassedGate,
    fails,
    route_file,
)
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow


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


def test_a_database_that_fails_in_use_is_named_as_the_stores_fault(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="disk is full"), store.begin():
        fails()
