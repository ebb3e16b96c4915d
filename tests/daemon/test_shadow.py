"""The shadow through the controller: what it ends before users meet it, what it stores, what is told of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.explain.explanation import Explanation
from daemon.explain.rollouts import explain
from daemon.store import Store, denials, rollouts, shadow_scores, suspended
from deploy.rollout import Phase, RolloutConfig
from deploy.shadow import Score, fold
from tests.daemon.fake_replier import mirrored
from tests.daemon.loop_bench import NEW
from tests.daemon.shadowed import candidate_that, entry, judged, loses, made, put, right, shadowed, shown, ticks


@pytest.mark.slow
def test_harm_in_the_shadow_ends_a_rollout_before_any_user_meets_it(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(400)))
    bench = made(tmp_path, store, candidate_that(loses))
    controller, _ = bench.daemon()
    ticks(bench, controller, 8)
    assert bench.phase() is Phase.DENIED
    assert all(route.split is None for file in bench.host.history for route in file.routes)
    right, wrong = (mirrored(bench.metrics, "shadow", outcome) for outcome in ("right", "wrong"))
    with store.read() as read:
        scores = shadow_scores.of_rollout(read, "r1")
    assert (right, wrong) == (sum(s.right for s in scores), sum(not s.right for s in scores))
    controller.tick()
    assert shown(bench) == (0.0, 0.0), "no rollout, no evidence"
    found = entry(store, "harm")
    assert found.reason == "shadow_harm"
    assert found.data["shadow_e"] >= RolloutConfig.model_validate(bench.rollout_config).shadow_threshold
    assert found.data["shadow_high"] < 0.0
    with store.read() as read:
        assert denials.is_denied(read, NEW)
        assert not suspended.all_ids(read), "nobody was harmed by what it learned"


@pytest.mark.slow
def test_a_good_candidate_waits_for_its_scores_and_goes_on(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(100)))
    bench = made(tmp_path, store, candidate_that(right), enough=50)
    controller, _ = bench.daemon()
    for _ in range(3):
        controller.tick()
    with store.read() as read:
        row = rollouts.get(read, "r1")
    assert row is not None
    assert (row.phase, row.data["waiting"]) == ("proving", "shadow_waits_for_scores")
    ticks(bench, controller, 3)
    assert bench.phase() is Phase.CANARY_SMALL
    data = entry(store, "proved").data
    assert (data["shadow_blocks"], data["shadow_lost"], data["shadow_mended"], data["shadow_e"] < 0.1) == (
        25,
        0,
        25,
        True,
    )
    assert data["shadow_low"] > 0.5
    blocks, log_e = shown(bench)
    assert blocks >= 25 and log_e < -2.0


@pytest.mark.slow
def test_without_feedback_it_waits_no_longer_than_it_may(tmp_path: Path, store: Store) -> None:
    bench = made(tmp_path, store, candidate_that(right), wait_s=100.0)
    controller, _ = bench.daemon()
    ticks(bench, controller, 10)
    assert bench.phase() is Phase.PROVING
    ticks(bench, controller, 4)
    assert bench.phase() is Phase.CANARY_SMALL
    assert "shadow_e" not in entry(store, "proved").data


@pytest.mark.slow
def test_on_live_traffic_it_informs_and_ends_nothing(tmp_path: Path, store: Store) -> None:
    bench = made(tmp_path, store, candidate_that(loses), wait_s=0.0)
    controller, _ = bench.daemon()
    ticks(bench, controller, 4)
    put(store, *(judged(n) for n in range(400)))
    ticks(bench, controller, 3)
    assert bench.phase() is Phase.CANARY_SMALL
    with store.read() as read:
        assert fold(shadow_scores.of_rollout(read, "r1")).blocks == 100


@pytest.mark.slow
def test_a_restart_in_the_middle_gives_the_scores_of_no_restart(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(200)))
    bench = made(tmp_path, store, candidate_that(loses), max_per_minute=8, wait_s=4000.0)
    broken: list[Score] = []
    for _ in range(40):
        bench.shadow = shadowed(store, candidate_that(loses), bench)  # a new process each time
        controller, _ = bench.daemon()
        ticks(bench, controller, 1)
        bench.now += 60.0
        with store.read() as read:
            broken = shadow_scores.of_rollout(read, "r1")
        if len(broken) >= 24:
            break
    other = Store.open(f"sqlite:///{tmp_path}/other.db", synchronous="normal")
    put(other, *(judged(n) for n in range(200)))
    (tmp_path / "other").mkdir()
    whole = made(tmp_path / "other", other, candidate_that(loses), wait_s=4000.0)
    controller, _ = whole.daemon()
    ticks(whole, controller, 4)
    assert len(broken) >= 24
    with other.read() as read:
        assert shadow_scores.of_rollout(read, "r1")[: len(broken)] == broken
    other.close()


def test_a_score_is_stored_once(store: Store) -> None:
    pair = [Score(1, "x1", "i", False, True), Score(1, "x2", "i", True, False)]
    for again in ([Score(2, "x1", "i", False, False), Score(2, "x3", "i", True, True)], pair):
        with store.begin() as tx:
            shadow_scores.add(tx, "r1", pair, 5.0)
            assert not shadow_scores.add(tx, "r1", again, 6.0)
            shadow_scores.add(tx, "r2", again, 6.0)
    with store.read() as read:
        assert shadow_scores.of_rollout(read, "r1") == pair
        assert (shadow_scores.since(read, "r1", 5.0), shadow_scores.since(read, "r1", 5.5)) == (2, 0)


def test_a_shadow_that_is_off_asks_nothing(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(40)))
    candidate = candidate_that(right)
    bench = made(tmp_path, store, candidate, share=0.0)
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    assert bench.phase() is Phase.CANARY_SMALL
    assert candidate.asked == []


def test_nothing_of_what_was_said_is_stored(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(60)))
    bench = made(tmp_path, store, candidate_that(lambda n: f"a reply nobody shall keep {n}"))
    controller, _ = bench.daemon()
    ticks(bench, controller, 5)
    with store.read() as read:
        assert shadow_scores.of_rollout(read, "r1")
    store.close()
    kept = b"".join(p.read_bytes() for p in tmp_path.iterdir() if p.name.startswith("store.db"))
    assert b"nobody shall keep" not in kept


def test_why_tells_blocks_scores_and_interval(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(100)))
    bench = made(tmp_path, store, candidate_that(right), enough=50)
    controller, _ = bench.daemon()
    ticks(bench, controller, 4)
    told = told_of(store, bench.now)
    assert "25 confirmed and 25 corrected exchanges were sent to the candidate" in told.notes[-1]
    assert "lost 0 of the confirmed replies and mended 25 of the corrected ones: +1.00 a block" in told.notes[-1]
    measure = next(m for m in told.measures if m.name == "shadow")
    assert (measure.threshold, measure.reached) == (pytest.approx(200.0), False)


def test_why_has_words_for_an_end_in_the_shadow(tmp_path: Path, store: Store) -> None:
    put(store, *(judged(n) for n in range(400)))
    bench = made(tmp_path, store, candidate_that(loses))
    controller, _ = bench.daemon()
    ticks(bench, controller, 8)
    told = told_of(store, bench.now)
    assert told.decided.reason == "shadow_harm"
    assert re.search(r"lost \d+ confirmed replies and mended 0 corrected ones", told.decided.words)
    assert "–" not in told.decided.words, "every number is there"


def test_why_says_nothing_of_a_shadow_that_is_off(tmp_path: Path, store: Store) -> None:
    bench = made(tmp_path, store, candidate_that(right), share=0.0)
    bench.daemon()
    told = told_of(store, bench.now)
    assert not any("Shadow" in note for note in told.notes)
    assert not any(m.name == "shadow" for m in told.measures)


def told_of(store: Store, now: float) -> Explanation:
    with store.read() as read:
        row = rollouts.get(read, "r1")
        assert row is not None
        return explain(read, row, now)
