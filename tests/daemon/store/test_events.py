"""Events: stored once, read back as they came, without text after retention."""

from __future__ import annotations

import base64

import pytest

from daemon.store import Store, counters, dead_letters, exchanges, feedback, offsets, retention, sessions
from daemon.store.sessions import Session
from streams.events import Attempt, DeadLetter, FeedbackKind, Sampling
from streams.log import Gap
from tests.daemon import events


def test_an_exchange_is_stored_once_and_comes_back_equal(store: Store) -> None:
    first = events.exchange(1, attempts=(Attempt(version="v", status=500),), arm="canary", rollout="r", propensity=0.1)
    second = events.exchange(2, sampling=Sampling(temperature=0.7, seed=5, stops=True))
    with store.begin() as tx:
        assert exchanges.insert_new(tx, [first, first, second]) == {"x1", "x2"}
    with store.begin() as tx:
        assert exchanges.insert_new(tx, [second, events.exchange(3)]) == {"x3"}
    with store.read() as read:
        assert exchanges.get(read, "x1") == first
        assert exchanges.get_many(read, ["x1", "x2", "none"]) == {"x1": first, "x2": second}
        assert [e.exchange_id for e in exchanges.since(read, "support", 1002.0, 2000.0, 10)] == ["x2", "x3"]
        assert [e.exchange_id for e in exchanges.since(read, "support", 0.0, 2000.0, 2)] == ["x2", "x3"]
        assert exchanges.of_identity(read, "i2", 10) == ["x2"]


def test_exchanges_of_a_rollouts_sessions_in_request_order(store: Store) -> None:
    mine = [events.exchange(n, session="s", rollout="r1") for n in (5, 3)]
    with store.begin() as tx:
        exchanges.insert_new(tx, [*mine, events.exchange(4, session="s"), events.exchange(6, rollout="r1")])
        assert [e.exchange_id for e in exchanges.of_rollout_sessions(tx, "r1", ["s", "t"])] == ["x3", "x5"]


def test_more_ids_than_one_statement_may_name(store: Store) -> None:
    many = [events.exchange(n) for n in range(1300)]
    with store.begin() as tx:
        exchanges.insert_new(tx, many[:700])
        assert len(exchanges.insert_new(tx, many)) == 600
        assert len(exchanges.get_many(tx, [e.exchange_id for e in many])) == 1300


def test_feedback_of_an_exchange_in_the_order_it_was_sent(store: Store) -> None:
    late = events.feedback(9, "x1", kind=FeedbackKind.CORRECTION, value=None, correction="better")
    early = events.feedback(1, "x1", value=False)
    before_its_exchange = events.feedback(2, "unknown")
    with store.begin() as tx:
        assert feedback.insert_new(tx, [late, early, before_its_exchange, early]) == {"f9", "f1", "f2"}
        assert feedback.insert_new(tx, [early]) == set()
        assert feedback.for_exchanges(tx, ["x1", "x2"]) == {"x1": [early, late]}
        assert feedback.since(tx, "support", 0.0, 1005.0, 10) == [early, before_its_exchange]


def test_retention_takes_the_text_and_leaves_ids_and_figures(store: Store) -> None:
    preference = events.feedback(1, "x1", kind=FeedbackKind.PREFERENCE, value="secret choice", comment="secret comment")
    letter = DeadLetter(
        reason="malformed",
        detail="secret",
        topic="t",
        partition=0,
        offset=1,
        payload_b64=base64.b64encode(b"secret").decode(),
        at=5.0,
    )
    with store.begin() as tx:
        exchanges.insert_new(tx, [events.exchange(1), events.exchange(100)])
        feedback.insert_new(tx, [preference, events.feedback(2, "x1"), events.feedback(100, "x100", correction="keep")])
        dead_letters.insert_new(tx, [letter])
        dead_letters.mark_sent(tx, [letter], at=6.0)
        forgotten = retention.forget_text(tx, before_s=1050.0)
        assert (forgotten.exchanges, forgotten.feedback, forgotten.dead_letters) == (1, 2, 1)
        assert retention.forget_text(tx, before_s=1050.0).exchanges == 0
        old, young = exchanges.get(tx, "x1"), exchanges.get(tx, "x100")
        assert old is not None and young is not None
        assert (old.completion, old.messages, old.completion_token_ids) == ("", (), None)
        assert (old.session, old.status, old.completed_at) == ("s1", 200, 1001.5)
        assert young == events.exchange(100)
        blanked, thumb = feedback.for_exchanges(tx, ["x1"])["x1"]
        (kept,) = feedback.for_exchanges(tx, ["x100"])["x100"]
        assert (blanked.value, blanked.comment, blanked.kind) == (None, None, FeedbackKind.PREFERENCE)
        assert thumb.value is True
        assert kept.correction == "keep"
    with store.read() as read:
        for name in ("exchanges", "feedback", "dead_letters"):
            rows = read.conn.exec_driver_sql(f"select * from {name}").all()
            assert "secret" not in repr(rows)


def test_offsets_move_forward_only(store: Store) -> None:
    with store.begin() as tx:
        offsets.put(tx, {("traffic", 0): 5, ("traffic", 1): 7})
        offsets.put(tx, {("traffic", 0): 6})
        assert offsets.get_all(tx) == {("traffic", 0): 6, ("traffic", 1): 7}
        with pytest.raises(ValueError, match="must not go back from 6 to 2"):
            offsets.put(tx, {("traffic", 0): 2})


def test_gaps_and_counters_add_up(store: Store) -> None:
    gap = Gap("traffic", 0, 5, 9)
    with store.begin() as tx:
        offsets.record_gaps(tx, [gap], at=1.0)
        counters.add(tx, {"joined": 2, "late": 1})
        counters.add(tx, {"joined": 3})
    with store.read() as read:
        assert offsets.gaps(read) == [gap]
        assert counters.get_all(read) == {"joined": 5, "late": 1}


def test_dead_letters_are_kept_once_until_they_are_sent(store: Store) -> None:
    one = DeadLetter(reason="malformed", detail="", topic="t", partition=0, offset=1, payload_b64="eA==", at=5.0)
    two = one.model_copy(update={"offset": 2, "reason": "too_large"})
    with store.begin() as tx:
        assert dead_letters.insert_new(tx, [one, two, one]) == 2
        assert dead_letters.insert_new(tx, [two]) == 0
        assert dead_letters.unsent(tx, 10) == [one, two]
        dead_letters.mark_sent(tx, [one], at=6.0)
        assert dead_letters.unsent(tx, 10) == [two]
        assert dead_letters.by_reason(tx) == {"malformed": 1, "too_large": 1}


def test_a_session_keeps_its_first_contact(store: Store) -> None:
    first = Session("support", "s1", 1.0, "x1")
    with store.begin() as tx:
        assert sessions.insert_new(tx, [first, Session("support", "s1", 2.0, "x2")]) == {"s1"}
        assert sessions.insert_new(tx, [Session("support", "s1", 3.0, "x3"), Session("support", "s2", 3.0, "x3")]) == {
            "s2"
        }
        assert sessions.get_many(tx, "support", ["s1", "s3"]) == {"s1": first}
