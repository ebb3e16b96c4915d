"""The cumulative effect of all promotions, from recorded sessions."""

from __future__ import annotations

import json
import random

import pytest

from daemon.holdback import STATE, Record
from daemon.holdback import record as newest
from daemon.lift import Draw, lift
from daemon.store import Store, exchanges, feedback, sessions, states
from deploy.gateway.arms import position
from deploy.rollout import RolloutConfig
from streams.events import Exchange, Feedback
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said

CONFIG = RolloutConfig(maturity_s=10.0, lateness_s=1.0)
SHARE = 0.1


def hold(store: Store, started: float, ended: float | None = None) -> None:
    values = {"id": "holdback-1", "anchor": "support-a", "share": SHARE, "started_at": started, "ended_at": ended}
    with store.begin() as tx:
        states.put(tx, STATE, json.dumps(values).encode(), started)


def known(store: Store) -> Record:
    with store.read() as read:
        found = newest(read)
    assert found is not None
    return found


def record(store: Store, count: int, served_up: float, held_up: float, each: int = 1) -> float:
    """``count`` sessions, one a second, ``each`` of one person, rated by chance; when the last began."""
    rng = random.Random(11)
    start = 2000.0
    came, spoken, begun = list[Exchange](), list[Feedback](), list[sessions.Session]()
    for n in range(count):
        key, at = f"s{n}", start + n
        held = position("holdback-1", key) < SHARE
        x = exchange(n, session=key, identity=f"u{n // each}", received_at=at, dispatched_at=at, completed_at=at + 0.1)
        came.append(x)
        spoken.append(said(n, x.exchange_id, value=rng.random() < (held_up if held else served_up), sent_at=at + 1.0))
        begun.append(sessions.Session("support", key, at, x.exchange_id))
    with store.begin() as tx:
        exchanges.insert_new(tx, came)
        feedback.insert_new(tx, spoken)
        sessions.insert_new(tx, begun)
    return start + count


def test_thinning_keeps_the_held_and_tells_the_propensity_that_follows() -> None:
    draw = Draw("holdback-1", 0.02)
    sides = [draw.side(f"s{n}") for n in range(10_000)]
    held, others = sides.count(False), sides.count(True)
    assert held == sum(position("holdback-1", f"s{n}") < 0.02 for n in range(10_000))
    assert others / held == pytest.approx(4.0, rel=0.2)
    assert draw.propensity == pytest.approx(0.8)
    everybody = Draw("holdback-1", 0.1)
    assert everybody.kept < 1.0


@pytest.mark.slow
def test_a_gain_is_found_with_an_interval_that_holds_it(store: Store) -> None:
    now = record(store, 4000, served_up=0.9, held_up=0.5)
    hold(store, 2000.0)
    held = known(store)
    with store.read() as read:
        found = lift(read, "support", held, CONFIG, now + 100.0)
    assert found["effect"] == pytest.approx(0.4, abs=0.1)
    assert 0.0 < found["low"] <= 0.4 <= found["high"]
    assert found["units_held_back"] == sum(position("holdback-1", f"s{n}") < SHARE for n in range(4000))
    assert found["complete"]


def test_only_matured_sessions_of_its_time_count_and_nobody_counts_often(store: Store) -> None:
    record(store, 300, served_up=1.0, held_up=1.0, each=5)
    hold(store, 2100.0, ended=2200.0)
    held = known(store)
    with store.read() as read:
        draw = Draw(held.id, held.share)
        inside = [n for n in range(100, 200) if draw.side(f"s{n}") is not None]
        free = CONFIG.model_copy(update={"identity_cap": 5})
        assert lift(read, "support", held, free, 9000.0)["units"] == len(inside)
        early = [n for n in inside if 2000.0 + n < 2150.0 - 11.0]
        assert lift(read, "support", held, free, 2150.0)["units"] == len(early)
        capped = CONFIG.model_copy(update={"identity_cap": 1})
        people = {n // 5 for n in inside}
        assert len(people) < len(inside)
        assert lift(read, "support", held, capped, 9000.0)["units"] == len(people)
