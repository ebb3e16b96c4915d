"""A rollback that a person asks for, or made at the host, has the intervals of its rollout beside it, as a verdict has;
and what is wrong with them keeps nobody from going back.
"""

from __future__ import annotations

import random

import pytest
from sqlalchemy import update

import daemon.rollback
from daemon.controller import Controller
from daemon.store import ledger, tables
from deploy.rollout import Phase
from tests.daemon.going_back import route_file
from tests.daemon.loop_bench import IDENTITY, ME, NEW, LoopBench, drain

pytestmark = pytest.mark.slow
BOUNDS = {f"{name}_{end}" for name in ("gain", "gain_at_once", "gain_in_slice") for end in ("low", "high")}


def heard(bench: LoopBench, sessions: int = 120) -> Controller:
    """A canary of which users have spoken."""
    bench.open_rollout()
    controller, ingest = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    bench.traffic(sessions, good=0.6, bad=0.5, rng=random.Random(2))
    drain(ingest)
    return controller


def told(bench: LoopBench) -> dict[str, float]:
    """The last word of the ledger about the rollout, which is over."""
    assert bench.phase() is Phase.ROLLED_BACK
    with bench.store.read() as read:
        last = ledger.of_subject(read, "r1")[-1]
    assert last.data["to_phase"] == "rolled_back"
    return dict(last.data)


def test_a_persons_rollback_has_them(bench: LoopBench) -> None:
    heard(bench).rollback(ME, None, False)
    found = told(bench)
    assert found.keys() >= BOUNDS and found["gain_at_once_low"] < found["gain_at_once_high"]


def test_one_that_is_found_on_the_host_has_them(bench: LoopBench) -> None:
    controller = heard(bench)
    bench.host.write_route(route_file(900, IDENTITY, f"rollback:{NEW}"))
    controller.tick()
    found = told(bench)
    assert found.keys() >= BOUNDS and found["units"] > 0


def test_where_nobody_was_heard_there_are_none(bench: LoopBench) -> None:
    heard(bench, sessions=0).rollback(ME, None, False)
    assert not told(bench).keys() & BOUNDS


def test_a_rollback_is_recorded_without_them_where_the_rows_say_nothing_sensible(bench: LoopBench) -> None:
    controller = heard(bench)
    with bench.store.begin() as tx:
        tx.conn.execute(update(tables.unit_events).where(tables.unit_events.c.seq == 3).values(path="of_tomorrow"))
    assert "recorded" not in controller.rollback(ME, None, False)
    assert not told(bench).keys() & BOUNDS


def test_so_many_units_that_others_would_wait_are_left_out(bench: LoopBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.rollback, "MOST_UNITS", 5)
    heard(bench).rollback(ME, None, False)
    assert not told(bench).keys() & BOUNDS
