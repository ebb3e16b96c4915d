"""What a failure, a crash or a race at the wrong instant must not take back: events, verdicts, rollbacks."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry

from daemon.ingest import Ingest, IngestPorts
from daemon.store import denials, exchanges, feedback, fences, intents, offsets, rollouts, units
from deploy.processes import Path as EvidencePath
from deploy.rollout import Phase
from deploy.routes import Route, RouteFile
from monitors.metrics import Metrics
from streams.codec import encode_exchange, encode_feedback
from streams.config import JoinConfig
from streams.events import Exchange, Feedback, Trust
from streams.sqlite_log import SqliteSource
from streams.sqlite_sink import SqliteSink
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.ingest_bench import CountingWatch
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench, drain

pytestmark = pytest.mark.slow


def ingest_of(bench: LoopBench, *, valid: bool = True, max_records: int = 1000) -> Ingest:
    """An ingest on the bench's log and store, started."""
    ports = IngestPorts(
        deployment="support",
        store=bench.store,
        source=SqliteSource(bench.folder / "log.db"),
        join=JoinConfig(window_s=600.0, lateness_s=1.0),
        make_watch=CountingWatch.load,
        token_is_valid=lambda _token, _exchange, _feedback, _now: valid,
        clock=lambda: bench.now,
        metrics=Metrics(CollectorRegistry()),
    )
    made = Ingest(ports, max_records)
    made.start()
    return made


def live(bench: LoopBench) -> None:
    """Ticks until the canary runs."""
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL


# ---------------------------------------------------------------------------------------------------------- events


def test_a_batch_that_failed_is_read_again_by_the_same_ingest(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = SqliteSink(bench.folder / "log.db")
    ingest = ingest_of(bench)
    sink.append("homeostat.traffic", "s", encode_exchange(exchange(1), "test"))
    assert sink.flush(5.0)

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(offsets, "put", broken)
        with pytest.raises(OSError, match="disk full"):
            ingest.step(0.0)
    sink.append("homeostat.traffic", "s", encode_exchange(exchange(2), "test"))
    assert sink.flush(5.0)
    sink.close()
    assert ingest.step(0.0) == 2
    with bench.store.read() as read:
        assert set(exchanges.get_many(read, ["x1", "x2"])) == {"x1", "x2"}


def test_feedback_with_a_forged_token_is_stored_as_bare(bench: LoopBench) -> None:
    """What a restart reads back decides the rewards of open units."""
    sink = SqliteSink(bench.folder / "log.db")
    sink.append("homeostat.traffic", "s", encode_exchange(exchange(1), "test"))
    sink.append("homeostat.feedback", "s", encode_feedback(said(1, "x1"), "test", "forged"))
    assert sink.flush(5.0)
    sink.close()
    drain(ingest_of(bench, valid=False))
    with bench.store.read() as read:
        assert [f.trust for f in feedback.for_exchanges(read, ["x1"])["x1"]] == [Trust.BARE]


def test_units_of_a_backlog_wait_for_the_feedback_that_is_still_to_be_read(bench: LoopBench) -> None:
    bench.open_rollout()
    live(bench)
    bench.traffic(20, good=1.0, bad=1.0, rng=random.Random(1))
    bench.now += 1000.0  # the daemon was away for longer than a maturity window
    ingest = ingest_of(bench, max_records=5)
    drain(ingest)
    ingest.step(0.0)
    with bench.store.read() as read:
        paths = [e.path for e in units.events_of(read, "r1")]
    assert EvidencePath.CLOSED.value not in paths
    assert paths.count(EvidencePath.PROMOTE.value) == 20


# -------------------------------------------------------------------------------------------------------- rollbacks


def test_a_rollback_before_the_canary_ends_the_rollout_whose_control_it_leaves(bench: LoopBench) -> None:
    bench.register(OLD, promoted=True)
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    for _ in range(2):
        controller.tick()
    assert bench.phase() is Phase.PROVING
    assert controller.rollback(ME, None, False)["from"] == OLD
    before = len(bench.host.history)
    for _ in range(5):
        controller.tick()
    assert bench.phase() is Phase.ABORTED
    assert all(r.control != OLD for f in bench.host.history[before:] for r in f.routes)


def test_a_rollback_that_lands_within_a_tick_is_not_undone_by_it(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open_rollout()
    controller, ingest = bench.daemon()
    for _ in range(6):
        controller.tick()
    seen = ingest.observed

    looks: list[str] = []

    def rolled_back_meanwhile() -> object:
        looks.append("look")
        if len(looks) == 1:
            controller.rollback(ME, None, False)
        return seen()

    before = len(bench.host.history)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "observed", rolled_back_meanwhile)
        controller.tick()
    controller.tick()
    assert len(bench.host.history) > before
    assert all(r.split is None for f in bench.host.history[before:] for r in f.routes)
    assert bench.phase() is Phase.ROLLED_BACK


def test_an_unfinished_intent_does_not_pass_for_a_rollback_found_on_the_host(bench: LoopBench) -> None:
    bench.open_rollout()
    live(bench)
    args = {"control": IDENTITY, "split": None}
    with bench.store.begin() as tx:
        intents.declare(tx, rollout="r1", effect="route", args=args, reason="starting", at=bench.now)
        known = fences.current(tx, "support")
    route = Route(deployment="support", alias="support", control=IDENTITY)
    reason = "rolled_back:reward_harm"
    bench.host.write_route(
        RouteFile(epoch=known + 1, actor="daemon", reason=reason, written_at=bench.now, routes=(route,))
    )
    bench.daemon()
    assert bench.phase() is Phase.ROLLED_BACK
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)


# -------------------------------------------------------------------------------------------------------- rollouts


def test_a_promotion_and_the_new_reference_are_one_after_a_crash_between_them(bench: LoopBench) -> None:
    bench.open_rollout()
    with bench.store.begin() as tx:
        rollouts.update_phase(tx, "r1", phase="promoted", reason="no_harm_in_probation", at=bench.now, ended=True)
    for expected in (1, 0):  # the first daemon makes up for it, the next finds it done
        controller, ingest = bench.daemon()
        controller.tick()
        controller.tick()
        assert isinstance(ingest.watch, CountingWatch)
        assert ingest.watch.rebased == expected


def test_replicas_that_are_away_during_the_canary_do_not_deny_the_candidate(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    for replica in bench.host.replicas:
        replica.alive = False
    for _ in range(10):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    for replica in bench.host.replicas:
        replica.restart()
        replica.alive = True
    controller.tick()
    assert all(r.proved.get(NEW) for r in bench.host.replicas)
    bench.now += bench.rollout_config.deadline_s
    controller.tick()
    assert bench.phase() is Phase.INCONCLUSIVE


def test_a_person_who_promotes_starts_the_count_of_probation_anew(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, ingest = bench.daemon()
    for _ in range(6):
        controller.tick()
    bench.traffic(bench.rollout_config.probation_units + 5, good=0.9, bad=0.9, rng=random.Random(2))
    drain(ingest)
    controller.promote(ME)
    controller.tick()
    assert bench.phase() is Phase.PROBATION


# ---------------------------------------------------------------------------------------------------------- restarts


def canary(number: int, **changes: object) -> Exchange:
    """An exchange of the canary arm of ``r1``."""
    arm = {"rollout": "r1", "arm": "canary", "propensity": 0.1, "version": NEW}
    return exchange(number).model_copy(update={**arm, **changes})


def put(bench: LoopBench, *events: Exchange | Feedback) -> None:
    """Append to the log."""
    sink = SqliteSink(bench.folder / "log.db")
    for one in events:
        if isinstance(one, Exchange):
            sink.append("homeostat.traffic", one.session, encode_exchange(one, "test"))
        else:
            sink.append("homeostat.feedback", one.exchange_id, encode_feedback(one, "test", "t"))
    assert sink.flush(5.0)
    sink.close()


def test_the_kill_switch_goes_on_counting_after_a_restart(bench: LoopBench) -> None:
    bench.open_rollout()
    errors = bench.rollout_config.kill_errors
    put(bench, canary(0), *(canary(n, status=500) for n in range(1, errors)))
    drain(ingest_of(bench))
    put(bench, canary(errors, status=500))
    second = ingest_of(bench)
    drain(second)
    seen = second.observed()
    assert seen is not None
    assert seen.kill.consecutive == errors


def test_a_changed_mind_counts_the_same_with_a_restart_before_the_unit_is_closed(bench: LoopBench) -> None:
    """Only the change that came within the unit's window counts, whoever reads it and when."""
    bench.open_rollout()
    window = bench.rollout_config.maturity_s
    bench.now = 1001.0 + window
    put(
        bench,
        *(canary(n, received_at=1000.0, completed_at=1000.5) for n in (1, 2)),
        said(1, "x1", value=False, sent_at=1001.0),
        said(2, "x1", value=True, sent_at=1002.0),
        said(3, "x2", value=False, sent_at=1001.0),
        said(4, "x2", value=True, sent_at=1000.5 + window),
    )
    drain(ingest_of(bench))
    bench.now = 1000.0 + 3 * window
    ingest_of(bench).step(0.0)
    with bench.store.read() as read:
        rewards = {e.unit: e.value for e in units.events_of(read, "r1", EvidencePath.PROMOTE.value)}
    assert rewards == {0: 1.0, 1: 0.0}
