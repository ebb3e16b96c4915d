"""The daemon's side of a holdback: when it begins, what ends it, and that it survives everything else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import orjson
import pytest

from daemon.cli.output import status
from daemon.config import Config
from daemon.controller import Controller
from daemon.holdback import STATE, Facts, Record, decide, record
from daemon.sections import HoldbackConfig
from daemon.store import Store, denials, ledger, states
from deploy.routes import Holdback, Route, RouteFile
from tests.daemon.fake_host import FakeHost
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

ON = HoldbackConfig(share=0.02)
READY = Facts(champion=NEW, anchor=IDENTITY, accepted=True, denied=False, resident=True, held=False)


@pytest.mark.parametrize(
    ("config", "facts", "held", "reason"),
    [
        (ON, READY, True, "holdback_started"),
        (ON, replace(READY, held=True), True, "holdback_held"),
        (ON, replace(READY, held=True, resident=False), True, "holdback_held"),
        (ON, replace(READY, resident=False), False, "not_resident"),
        (ON, replace(READY, paused=True), False, "paused"),
        (ON, replace(READY, paused=True, held=True), True, "holdback_held"),
        (ON, replace(READY, champion=None, held=True), False, "nothing_promoted"),
        (ON, replace(READY, denied=True, held=True), False, "anchor_denied"),
        (ON, replace(READY, anchor=NEW), False, "anchor_serves"),
        (ON, replace(READY, anchor=None), False, "anchor_not_accepted"),
        (ON, replace(READY, accepted=False), False, "anchor_not_accepted"),
        (HoldbackConfig(), replace(READY, held=True), False, "holdback_off"),
    ],
)
def test_the_decision_names_its_reason(config: HoldbackConfig, facts: Facts, held: bool, reason: str) -> None:
    assert decide(config, facts) == (held, reason)


def test_every_reason_has_its_line_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    yes_no = (True, False)
    reasons = {
        decide(config, Facts(champion, anchor, *flags))[1]
        for config, champion, anchor in product((ON, HoldbackConfig()), (NEW, None), (IDENTITY, NEW, None))
        for flags in product(yes_no, yes_no, yes_no, yes_no, yes_no)
    }
    assert len(reasons) == 9
    assert lines >= reasons, reasons - lines


@dataclass
class HoldingBench(LoopBench):
    """A bench whose config holds sessions back."""

    holdback: HoldbackConfig = ON

    def config(self) -> Config:
        """The bench's config with the holdback."""
        return super().config().model_copy(update={"holdback": self.holdback})


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> HoldingBench:
    return HoldingBench(tmp_path, store)


def serving(bench: HoldingBench, *stack: str) -> Controller:
    """A daemon whose stack was promoted in this order and whose top serves."""
    bench.register(*stack, promoted=True)
    route = Route(deployment="support", alias="support", control=stack[-1])
    bench.host.write_route(RouteFile(epoch=50, actor="daemon", reason="promoted", written_at=0.0, routes=(route,)))
    return ticked(bench, 3)


def ticked(bench: HoldingBench, ticks: int) -> Controller:
    """A fresh daemon after some ticks."""
    controller, _ = bench.daemon()
    for _ in range(ticks):
        controller.tick()
        bench.now += 1.0
    return controller


def held(host: FakeHost) -> Holdback | None:
    assert host.route is not None
    return host.route.routes[0].holdback


def known(bench: HoldingBench) -> Record:
    with bench.store.read() as read:
        found = record(read)
    assert found is not None
    return found


def test_it_begins_after_a_promotion_on_a_resident_anchor_and_survives_a_restart(bench: HoldingBench) -> None:
    controller = serving(bench, NEW)
    first = held(bench.host)
    assert first is not None and (first.anchor, first.share) == (IDENTITY, 0.02)
    assert all(r.proved.get(IDENTITY) for r in bench.host.replicas)
    shown = controller.status()
    assert shown["route"]["holdback"] == first.model_dump()
    assert f"holdback    2 % of sessions stay on {IDENTITY}" in status(shown)
    began = known(bench)
    assert began.started_at is not None and began.ended_at is None
    writes = len(bench.host.history)
    ticked(bench, 3)
    assert (held(bench.host), known(bench)) == (first, began)
    assert len(bench.host.history) == writes, "nothing is written again"
    with bench.store.read() as read:
        told = [e for e in ledger.about(read, first.id) if e.kind == "holdback"]
    assert [(e.reason, e.data["version"]) for e in told] == [("holdback_started", IDENTITY)]


def test_before_a_promotion_nobody_is_held_back(bench: HoldingBench) -> None:
    bench.open_rollout()
    ticked(bench, 8)
    assert all(r.holdback is None for f in bench.host.history for r in f.routes)


def test_it_stays_through_a_rollout_and_its_ramp(bench: HoldingBench) -> None:
    serving(bench, OLD)
    first = held(bench.host)
    assert first is not None
    bench.open_rollout(control=OLD)
    controller = ticked(bench, 8)
    assert bench.host.route is not None and bench.host.route.routes[0].split is not None
    assert held(bench.host) == first
    controller.rollback(ME, None, False)
    assert held(bench.host) == first, "leaving the candidate is no reason to move the anchor's sessions"


def test_a_rollback_that_leaves_the_anchor_ends_it_in_the_same_write(bench: HoldingBench) -> None:
    bench.holdback = HoldbackConfig(share=0.02, anchor=NEW)
    controller = serving(bench, OLD, NEW)
    assert held(bench.host) is None, "the anchor serves everybody"
    first = Holdback(id="holdback-x", anchor=NEW, share=0.02)
    assert bench.host.route is not None
    there = bench.host.route.routes[0].model_copy(update={"holdback": first})
    update = {"epoch": bench.host.route.epoch + 1, "routes": (there,)}
    bench.host.write_route(bench.host.route.model_copy(update=update))
    controller, _ = bench.daemon()
    written = len(bench.host.history)
    controller.rollback(ME, None, False)
    assert all(r.holdback is None for f in bench.host.history[written:] for r in f.routes)


def test_a_denied_anchor_ends_it_for_good_and_is_not_taken_again(bench: HoldingBench) -> None:
    bench.holdback = HoldbackConfig(share=0.02, anchor=OLD)
    serving(bench, OLD, NEW)
    first = held(bench.host)
    assert first is not None and first.anchor == OLD
    with bench.store.begin() as tx:
        denials.deny(tx, "support", OLD, reason="rolled_back:by_person", actor="me", at=bench.now)
    ticked(bench, 3)
    assert held(bench.host) is None
    assert known(bench).ended_at is not None
    with bench.store.read() as read:
        assert ledger.about(read, first.id)[-1].reason == "anchor_denied"
    assert bench.host.route is not None and bench.host.route.routes[0].control == NEW


def test_a_denied_anchor_ends_it_also_where_the_config_names_another_by_now(bench: HoldingBench) -> None:
    bench.holdback = HoldbackConfig(share=0.02, anchor=OLD)
    serving(bench, OLD, NEW)
    with bench.store.begin() as tx:
        denials.deny(tx, "support", OLD, reason="rolled_back:by_person", actor="me", at=bench.now)
    bench.holdback = HoldbackConfig(share=0.02, anchor=IDENTITY)
    for replica in bench.host.replicas:
        replica.restart()
    bench.host.without_effect.update({IDENTITY, NEW})
    ticked(bench, 1)
    assert held(bench.host) is None, "at once, whatever else is not there yet"
    bench.host.without_effect.clear()
    bench.now += 100.0
    ticked(bench, 3)
    again = held(bench.host)
    assert again is not None and again.anchor == IDENTITY


def test_switching_it_off_ends_it_and_on_again_draws_anew(bench: HoldingBench) -> None:
    serving(bench, NEW)
    first = held(bench.host)
    bench.holdback = HoldbackConfig()
    ticked(bench, 2)
    assert held(bench.host) is None and known(bench).ended_at is not None
    bench.holdback = ON
    ticked(bench, 2)
    again = held(bench.host)
    assert again is not None and first is not None and again.id != first.id


def test_a_lost_anchor_is_loaded_again_and_nobody_is_moved(bench: HoldingBench) -> None:
    serving(bench, NEW)
    first = held(bench.host)
    bench.host.replicas[1].restart()
    ticked(bench, 2)
    assert held(bench.host) == first
    assert bench.host.replicas[1].proved.get(IDENTITY)


def test_a_kill_between_record_and_route_or_after_the_route_changes_nothing(bench: HoldingBench) -> None:
    begun = Record("holdback-0123456789", IDENTITY, 0.02)
    with bench.store.begin() as tx:
        states.put(tx, STATE, orjson.dumps(asdict(begun)), 0.0)
    serving(bench, NEW)
    first = held(bench.host)
    assert first is not None and first.id == begun.id, "the id that was written down is the one that is used"
    assert known(bench).started_at is not None
    with bench.store.begin() as tx:
        states.put(tx, STATE, orjson.dumps(asdict(begun)), 0.0)
    writes = len(bench.host.history)
    ticked(bench, 2)
    assert known(bench).started_at is not None and len(bench.host.history) == writes


def test_it_waits_for_a_champion_that_a_replica_has_lost(bench: HoldingBench) -> None:
    bench.host.without_effect.add(NEW)
    serving(bench, NEW)
    assert held(bench.host) is None
    bench.host.without_effect.clear()
    bench.now += 1000.0
    ticked(bench, 3)
    assert held(bench.host) is not None


def test_an_anchor_that_was_never_promoted_is_not_taken(bench: HoldingBench) -> None:
    bench.holdback = HoldbackConfig(share=0.02, anchor="support-cccccccccccc")
    serving(bench, NEW)
    assert held(bench.host) is None
