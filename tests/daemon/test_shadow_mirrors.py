"""Which exchanges a shadow sends to the candidate, how they are drawn, and what it makes of a failing server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.shadow_task import ASIDE_S, MOST_FAILURES
from daemon.store import Store, buffers, shadow_scores, suspended, tables
from deploy.driver_errors import ControlRefused, DriverError, ServerFailed, UnknownModel, Unreachable
from deploy.rollout import Phase
from deploy.shadow import fold
from streams.events import Message, Sampling, Trust
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.fake_replier import mirrored
from tests.daemon.loop_bench import IDENTITY, NEW
from tests.daemon.shadowed import asked, candidate_that, judged, made, number_in, put, right, ticks

EXCLUDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "": ({}, {}),
    "served by the candidate": ({"version": NEW}, {}),
    "served in the canary's arm": ({"arm": "canary", "rollout": "r1", "propensity": 0.1}, {}),
    "held back": ({"arm": "holdback"}, {}),
    "failed": ({"status": 500}, {}),
    "cut": ({"finish_reason": "length"}, {}),
    "too long": ({"completion_tokens": 5000}, {}),
    "redacted": ({"messages": (Message(role="user", content="write to [EMAIL] about 1"),)}, {}),
    "with tools": ({"sampling": Sampling(temperature=0.0, shaped=True)}, {}),
    "with stops": ({"sampling": Sampling(temperature=0.0, stops=True)}, {}),
    "text gone": ({"messages": (), "completion": ""}, {}),
    "bare": ({}, {"trust": Trust.BARE}),
    "late": ({}, {"sent_at": 1900.0}),
}


@pytest.mark.parametrize("why", EXCLUDED)
def test_what_is_no_fair_comparison_is_not_mirrored(tmp_path: Path, store: Store, why: str) -> None:
    put(store, *(judged(n) for n in (1, 2, 3)))
    of_exchange, of_feedback = EXCLUDED[why]
    spoilt, verdict = judged(4)
    put(store, (spoilt.model_copy(update=of_exchange), verdict.model_copy(update=of_feedback)))
    candidate = candidate_that(right)
    bench = made(tmp_path, store, candidate)
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    expected = [1, 4] if not why else []
    assert sorted(asked(candidate)) == expected, "where the only correction may not be used, there is no block"


def test_a_reply_is_drawn_as_the_champions_was(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(3)))
    drawn = Sampling(temperature=0.7, seed=11)
    put(store, *((x.model_copy(update={"sampling": drawn}), f) for x, f in (judged(4), judged(5))))
    candidate = candidate_that(right)
    bench = made(tmp_path, store, candidate)
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    found = {number_in(one.messages[-1]["content"]): one.sampling for one in candidate.requests}
    assert found == {0: None, 1: None, 2: None, 4: drawn}


def test_what_it_was_selected_from_is_not_mirrored(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(24)))
    candidate = candidate_that(right)
    bench = made(tmp_path, store, candidate)
    roles = {0: "new", 4: "holdout_new", 8: "dropped", 1: "replay"}
    with store.begin() as tx:
        items = [buffers.Item(f"x{n}", role, "stage", "reason") for n, role in roles.items()]
        buffers.add(tx, buffers.Buffer("digest", "support", "default", "manual", {}, 1.0), items)
        suspended.add(tx, "r0", ["x12"], 1.0)
        tx.conn.execute(update(tables.versions).where(tables.versions.c.version == NEW).values(buffer="digest"))
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    assert sorted(n for n in asked(candidate) if n % 4 == 0) == [16, 20]
    assert 1 not in asked(candidate)


def test_no_block_is_made_where_the_champion_is_mostly_wrong(tmp_path: Path, store: Store) -> None:
    """What the candidate learned from counts for that, or the rest would look better than it is."""
    put(store, *(judged(n) for n in range(16)))
    downs = [(exchange(n, version=IDENTITY), said(n, f"x{n}", value=False)) for n in range(100, 112)]
    put(store, *downs)
    candidate = candidate_that(right)
    bench = made(tmp_path, store, candidate)
    with store.begin() as tx:
        items = [buffers.Item(x.exchange_id, "new", "stage", "reason") for x, _ in downs]
        buffers.add(tx, buffers.Buffer("digest", "support", "default", "manual", {}, 1.0), items)
        tx.conn.execute(update(tables.versions).where(tables.versions.c.version == NEW).values(buffer="digest"))
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    assert candidate.asked == []


def test_a_closed_shadow_asks_and_writes_nothing_more(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(40)))
    candidate = candidate_that(right)
    bench = made(tmp_path, store, candidate)
    controller, _ = bench.daemon()
    assert bench.shadow is not None
    bench.shadow.close()
    ticks(bench, controller, 5)
    assert candidate.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("error", [Unreachable("away"), ServerFailed("500")])
def test_a_server_that_does_not_answer_makes_no_score(tmp_path: Path, store: Store, error: DriverError) -> None:
    put(store, *(judged(n) for n in range(40)))
    candidate = candidate_that(right, error)
    bench = made(tmp_path, store, candidate, wait_s=30.0)
    controller, _ = bench.daemon()
    ticks(bench, controller, 9)
    assert bench.phase() is Phase.CANARY_SMALL
    assert candidate.asked
    with store.read() as read:
        assert shadow_scores.of_rollout(read, "r1") == []
    outcome = "failed" if isinstance(error, ServerFailed) else "away"
    assert mirrored(bench.metrics, "shadow", outcome) == len(candidate.asked)
    if isinstance(error, ServerFailed):
        most = max(asked(candidate).count(n) for n in asked(candidate))
        assert most == MOST_FAILURES, "what it fails on is not asked for ever"


@pytest.mark.slow
@pytest.mark.parametrize("error", [Unreachable(""), UnknownModel(""), ControlRefused(""), ServerFailed("503")])
def test_a_server_that_was_away_for_a_while_leaves_all_exchanges_to_ask(
    tmp_path: Path, store: Store, error: DriverError
) -> None:
    put(store, *(judged(n) for n in range(40)))
    candidate = candidate_that(right, error)
    bench = made(tmp_path, store, candidate, enough=20)
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    times = len(candidate.asked)
    assert 0 < times <= 2 * 5, "no more than a block at a look"
    candidate.error = None
    ticks(bench, controller, 3)
    with store.read() as read:
        assert fold(shadow_scores.of_rollout(read, "r1")).blocks >= 5


@pytest.mark.slow
def test_what_the_server_fails_on_is_set_aside_for_an_hour_and_the_others_are_scored(
    tmp_path: Path, store: Store
) -> None:
    put(store, *(judged(n) for n in range(40)))
    candidate = candidate_that(right, ServerFailed("500"))
    candidate.fails_on = frozenset({"question 4", "question 8"})
    bench = made(tmp_path, store, candidate, wait_s=4 * ASIDE_S)
    controller, _ = bench.daemon()
    ticks(bench, controller, 12)
    with store.read() as read:
        scored = {s.exchange_id for s in shadow_scores.of_rollout(read, "r1")}
    assert len(scored) >= 10 and not scored & {"x4", "x8"}
    assert max(candidate.asked.count(text) for text in candidate.fails_on) == MOST_FAILURES
    candidate.error = None
    bench.now += ASIDE_S
    ticks(bench, controller, 2)
    with store.read() as read:
        assert {s.exchange_id for s in shadow_scores.of_rollout(read, "r1")} & {"x4", "x8"}
