"""Retention: text goes in pieces, an exchange and what was said of it together, and its reward stays."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from daemon.store import Store, Tx, exchanges, feedback, retention, tables
from daemon.stored_rewards import stored_rewards
from streams.events import Exchange, Feedback, FeedbackKind, Trust
from tests.daemon import events

FAR = 1e9


def correction(number: int, of: str, text: str, **more: Any) -> Feedback:
    return events.feedback(number, of, kind=FeedbackKind.CORRECTION, value=None, correction=text, **more)


def stored(tx: Tx, came: list[Exchange], said: list[Feedback]) -> None:
    exchanges.insert_new(tx, came)
    feedback.insert_new(tx, said)


def reward(tx: Tx, exchange_id: str, until_s: float = FAR) -> float | None:
    found = exchanges.get(tx, exchange_id)
    assert found is not None
    return stored_rewards(tx, [found]).of(found, until_s)


@pytest.mark.parametrize(
    ("said", "rewards"),
    [
        ([], (None, None)),
        ([correction(1, "x1", "Answer 1.")], (1.0, 1.0)),
        ([correction(1, "x1", "another")], (0.0, 0.0)),
        ([correction(1, "x1", "  ")], (None, None)),
        ([correction(1, "x1", "another"), correction(20, "x1", "answer 1")], (0.0, 1.0)),
        ([events.feedback(1, "x1"), correction(20, "x1", "another")], (1.0, 0.0)),
        ([correction(1, "x1", "another", trust=Trust.BARE)], (None, None)),
        ([correction(1, "x1", "another", choice=1), events.feedback(2, "x1")], (1.0, 1.0)),
        ([events.feedback(1, "x1", kind=FeedbackKind.PREFERENCE, value="another")], (None, None)),
        ([events.feedback(1, "x1", session="another")], (None, None)),
        ([events.feedback(1, "x1", session="s1"), events.feedback(2, "x1", value=False, tenant="b")], (1.0, 1.0)),
        ([events.feedback(1, "x1"), events.feedback(20, "x1", value=False, trust=Trust.PRODUCER)], (1.0, 1.0)),
        ([events.feedback(1, "x1", trust=Trust.PRODUCER), events.feedback(20, "x1", value=False)], (1.0, 0.0)),
    ],
)
def test_a_reward_outlives_the_words_it_was_made_of(
    store: Store, said: list[Feedback], rewards: tuple[float | None, float | None]
) -> None:
    """At ten seconds after the exchange, and at last."""
    with store.begin() as tx:
        stored(tx, [events.exchange(1)], said)
        assert (reward(tx, "x1", 1010.0), reward(tx, "x1")) == rewards
        assert retention.forget_text(tx, FAR).exchanges == 1
        assert (reward(tx, "x1", 1010.0), reward(tx, "x1")) == rewards


def test_what_is_said_after_the_text_went_changes_nothing_and_loses_its_text_at_its_own_age(store: Store) -> None:
    with store.begin() as tx:
        stored(tx, [events.exchange(1)], [correction(1, "x1", "answer 1")])
        retention.forget_text(tx, 1500.0)
        stored(tx, [], [events.feedback(2, "x1", value=False), correction(1000, "x1", "another")])
        assert reward(tx, "x1") == 1.0
        assert retention.forget_text(tx, 1500.0) == retention.Forgotten(feedback=1), "the thumb, of its empty text"
        assert retention.forget_text(tx, 2500.0) == retention.Forgotten(feedback=1)
        assert reward(tx, "x1") == 1.0
        assert retention.forget_text(tx, FAR) == retention.Forgotten()


def test_feedback_that_claims_to_be_older_than_its_exchange_waits_for_it(store: Store) -> None:
    """Else whoever sends it with an old date would empty one half of what the reward is to be made of."""
    with store.begin() as tx:
        dated_back = [correction(1, "x500", "answer 500"), correction(2, "unknown", "secret")]
        stored(tx, [events.exchange(500)], dated_back)
        assert retention.forget_text(tx, 1100.0) == retention.Forgotten(feedback=1), "of an exchange that nobody knows"
        assert feedback.for_exchanges(tx, ["x500"]) == {"x500": dated_back[:1]}
        stored(tx, [], [correction(501, "x500", "another")])
        assert retention.forget_text(tx, 1501.0) == retention.Forgotten(exchanges=1, feedback=2)
        assert (reward(tx, "x500", 1400.0), reward(tx, "x500")) == (1.0, 0.0)


def test_a_sweep_goes_in_pieces_the_oldest_first_and_can_be_stopped(store: Store) -> None:
    with store.begin() as tx:
        stored(tx, [events.exchange(n) for n in (3, 1, 4, 2, 5)], [correction(9, f"x{n}", "a") for n in (1,)])
        stored(tx, [], [correction(n, "unknown", "a") for n in (11, 12, 13)])
    stopped = retention.sweep(store, FAR, lambda: True, 2)
    assert (stopped.exchanges, stopped.more) == (2, True)
    with store.read() as read:
        left = exchanges.oldest_replies(read, FAR, 10)
        assert {name: reply.completion for name, reply in left.items()} == {f"x{n}": f"answer {n}" for n in (3, 4, 5)}
    goes_on = retention.sweep(store, 1005.0, lambda: False, 2)
    assert (goes_on.exchanges, goes_on.feedback, goes_on.more) == (2, 0, False), "x5 is as old as the limit"
    assert retention.sweep(store, FAR, lambda: False, 2) == retention.Forgotten(exchanges=1, feedback=1)


def test_no_word_survives_wherever_it_stood(store: Store) -> None:
    word = "hush"
    kinds = (FeedbackKind.CORRECTION, FeedbackKind.PREFERENCE, FeedbackKind.THUMB)
    said = [
        events.feedback(n, "x1", kind=kind, value=True if kind is FeedbackKind.THUMB else word, correction=word)
        for n, kind in enumerate(kinds)
    ]
    asked = events.exchange(1, completion=word, client_request_id=word)
    with store.begin() as tx:
        stored(tx, [asked, events.exchange(2, completion="")], [f.model_copy(update={"comment": word}) for f in said])
        retention.forget_text(tx, FAR)
    with store.read() as read:
        for table in tables.metadata.sorted_tables:
            assert word not in repr(read.conn.execute(select(table)).all()), table.name
        assert exchanges.kept_rewards(read, ["x1", "x2"]) == {"x1": ((1000.0, 1.0),), "x2": ()}
