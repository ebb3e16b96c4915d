"""The shadow through the controller: what is mirrored, what is stored of it, and what it ends before users meet it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.controller import Controller
from daemon.explain.explanation import Explanation
from daemon.explain.rollouts import explain
from daemon.shadow_task import ASIDE_S, MOST_FAILURES, PERIOD_S, ShadowTask
from daemon.store import (
    Store,
    buffers,
    denials,
    exchanges,
    feedback,
    ledger,
    rollouts,
    shadow_scores,
    suspended,
    tables,
)
from deploy.driver_errors import ControlRefused, DriverError, ServerFailed, UnknownModel, Unreachable
from deploy.rollout import Phase, RolloutConfig
from deploy.shadow import Score, fold
from deploy.shadow_config import ShadowConfig
from streams.events import Exchange, Feedback, FeedbackKind, Message, Sampling, Trust
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.fake_replier import FakeReplier, mirrored
from tests.daemon.loop_bench import IDENTITY, NEW, LoopBench
from tests.waiting import wait_until

Say = Callable[[int], str]


def candidate_that(say: Say, error: DriverError | None = None) -> FakeReplier:
    """Answers question ``n`` by a function of the number."""
    return FakeReplier(lambda text: say(number_in(text)), error)


def number_in(text: str) -> int:
    return int(text.split()[-1])


def asked(candidate: FakeReplier) -> list[int]:
    """Numbers of the questions that it was asked."""
    return [number_in(text) for text in candidate.asked]


def right(number: int) -> str:
    """What users want to hear: every fourth reply of the champion is wrong."""
    return f"better {number}" if number % 4 == 0 else f"Answer {number}."


def loses(number: int) -> str:
    """Nothing mended, and half of what was right is lost."""
    return "something else" if number % 4 == 0 or number % 2 == 0 else right(number)


def corrected(number: int, text: str, **changes: Any) -> Feedback:
    return said(number, f"x{number}", kind=FeedbackKind.CORRECTION, value=None, correction=text, **changes)


def judged(number: int) -> tuple[Exchange, Feedback]:
    """Exchange ``number`` of the identity version, with a thumb up or a correction."""
    verdict = corrected(number, right(number)) if number % 4 == 0 else said(number, f"x{number}")
    return exchange(number, version=IDENTITY), verdict


def put(store: Store, *found: tuple[Exchange, Feedback]) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [x for x, _ in found])
        feedback.insert_new(tx, [f for _, f in found])


def shadowed(store: Store, candidate: FakeReplier, bench: LoopBench) -> ShadowTask:
    names = ("support-base", "support", IDENTITY)
    return ShadowTask(store, candidate, "support", names, 600.0, lambda: bench.now, bench.metrics)


def made(folder: Path, store: Store, candidate: FakeReplier, **options: Any) -> LoopBench:
    """A bench whose rollout has a shadow and is proved within a few ticks."""
    wanted: dict[str, Any] = {"share": 1.0, "max_per_minute": 6000, "enough": 60, "wait_s": 300.0, **options}
    shadow = ShadowConfig.model_validate(wanted)
    bench = LoopBench(folder, store)
    bench.rollout_config = bench.rollout_config.model_copy(update={"shadow": shadow})
    bench.shadow = shadowed(store, candidate, bench)
    bench.open_rollout()
    return bench


def ticks(bench: LoopBench, controller: Controller, count: int) -> None:
    """Ticks, a look of the shadow apart, each after the shadow's work is done."""
    for _ in range(count):
        controller.tick()
        assert wait_until(lambda: idle(bench), 10.0, "the shadow's requests")
        bench.now += PERIOD_S


def shown(bench: LoopBench) -> tuple[float, float]:
    """Blocks and log e-value as Prometheus sees them."""
    found = [bench.metrics.registry.get_sample_value(f"homeostat_shadow_{name}") for name in ("blocks", "log_e")]
    assert found[0] is not None and found[1] is not None
    return found[0], found[1]


def idle(bench: LoopBench) -> bool:
    return bench.shadow is not None and not bench.shadow.at_work


def entry(store: Store, signal: str) -> ledger.Entry:
    with store.read() as read:
        return next(e for e in ledger.of_subject(read, "r1") if e.data.get("signal") == signal)


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
