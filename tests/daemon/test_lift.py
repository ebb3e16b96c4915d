"""The cumulative effect of all promotions, from recorded sessions."""

from __future__ import annotations

import json
import random
from contextlib import closing
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.holdback import STATE, Record
from daemon.holdback import record as newest
from daemon.lift import Draw, lift
from daemon.store import Store, exchanges, feedback, retention, sessions, states
from deploy.gateway.arms import position
from deploy.rollout import RolloutConfig
from streams.events import Exchange, Feedback, FeedbackKind, Trust
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


WAYS: dict[str, dict[str, Any]] = {
    "equal": {"kind": FeedbackKind.CORRECTION, "value": None, "correction": "The answer."},
    "unequal": {"kind": FeedbackKind.CORRECTION, "value": None, "correction": "something else"},
    "empty": {"kind": FeedbackKind.CORRECTION, "value": None, "correction": " "},
    "chosen": {"kind": FeedbackKind.PREFERENCE, "value": "something else"},
    "rating": {"kind": FeedbackKind.RATING, "value": 4.0},
    "accepted": {"kind": FeedbackKind.OUTCOME, "value": "accepted"},
    "up": {"value": True},
    "down": {"value": False},
    "bare": {"kind": FeedbackKind.CORRECTION, "value": None, "correction": "lie", "trust": Trust.BARE},
}
"""How one may speak of an exchange that was answered by ``the answer``."""
AFTER_S = (-1.0, 0.5, 1.0, 9.0, 10.0, 10.5, 400.0)
"""Seconds from the exchange to what is said of it; ten are within the window."""
ASKED = st.lists(st.tuples(st.sampled_from(list(WAYS)), st.sampled_from(AFTER_S)), max_size=4)
SESSIONS = st.lists(st.lists(ASKED, min_size=1, max_size=3), min_size=1, max_size=16)
LOOKED_AT = [key for key in (f"s{n}" for n in range(400)) if Draw("holdback-1", SHARE).side(key) is not None]


def spoken(number: int, of: str, way: str, at: float) -> Feedback:
    return said(number, of, **WAYS[way], sent_at=at)


def begun(store: Store, spec: list[list[list[tuple[str, float]]]]) -> list[Exchange]:
    """Sessions a second apart, each with exchanges a fifth of a second apart and what was said of them."""
    came, heard, opened = list[Exchange](), list[Feedback](), list[sessions.Session]()
    for n, asked in enumerate(spec):
        key, first = LOOKED_AT[n], 2000.0 + n
        for m, ways in enumerate(asked):
            at = first + 0.2 * m
            times = {"received_at": at, "dispatched_at": at, "completed_at": at + 0.1}
            x = exchange(100 * n + m, session=key, identity=f"u{n // 2}", completion="the answer", **times)
            came.append(x)
            heard += [spoken(len(heard) + k, x.exchange_id, way, at + s) for k, (way, s) in enumerate(ways)]
        opened.append(sessions.Session("support", key, first, f"x{100 * n}"))
    with store.begin() as tx:
        exchanges.insert_new(tx, came)
        feedback.insert_new(tx, heard)
        sessions.insert_new(tx, opened)
    return came


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(SESSIONS, st.floats(1990.0, 2020.0), st.integers(1, 5))
def test_no_unit_of_the_past_changes_when_its_words_go(
    spec: list[list[list[tuple[str, float]]]], halfway: float, most: int
) -> None:
    """Bit for bit: before retention, between its pieces, after it, and after what is said too late."""
    with TemporaryDirectory() as folder, closing(Store.open(f"sqlite:///{folder}/store.db", "normal")) as store:
        came = begun(store, spec)
        held = Record("holdback-1", "support-a", SHARE, started_at=2000.0)

        def measured() -> str:
            with store.read() as read:
                return repr(lift(read, "support", held, CONFIG, 1e6))

        before = measured()
        for limit in (halfway, 1e6):
            done = retention.Forgotten(more=True)
            while done.more:
                with store.begin() as tx:
                    done = retention.forget_text(tx, limit, most)
                assert measured() == before
        with store.begin() as tx:
            late = [spoken(9000 + n, x.exchange_id, "unequal", x.received_at + 1.0) for n, x in enumerate(came)]
            assert len(feedback.insert_new(tx, late)) == len(came)
        assert measured() == before
        with store.read() as read:
            assert exchanges.oldest_replies(read, 1e9, 1) == {}


def test_it_begins_where_every_reward_is_known(store: Store) -> None:
    """A store of an older release lost corrections with their text, and nobody knows whose rewards they took."""
    record(store, 200, served_up=0.5, held_up=0.5)
    hold(store, 2000.0)
    held, draw = known(store), Draw("holdback-1", SHARE)
    with store.begin() as tx:
        states.put(tx, "rewards_known_after:support", b"2100.0", 2100.0)
        states.put(tx, "rewards_known_after:another", b"2150.0", 2150.0)
        found = lift(tx, "support", held, CONFIG, 9000.0)
    assert found["units"] == sum(draw.side(f"s{n}") is not None for n in range(101, 200))
    assert 2100.0 < found["since"] < 2100.1


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
