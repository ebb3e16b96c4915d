"""The reward function: precedence, each kind, unreadable signals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.reward import (
    NO_REWARD,
    REWARD_VERSION,
    Reward,
    exchange_reward,
    reward_at,
    reward_over_time,
    same_reply,
    session_reward,
)
from streams.events import Feedback, FeedbackKind, Trust

KIND = FeedbackKind


def signal(kind: FeedbackKind, value: bool | float | str | None = None, **more: object) -> Feedback:
    fields: dict[str, object] = {
        "feedback_id": "f1",
        "exchange_id": "x",
        "deployment": "d",
        "tenant": "t",
        "kind": kind,
        "value": value,
        "trust": Trust.TOKEN,
        "sent_at": 1.0,
    }
    return Feedback.model_validate({**fields, **more})


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        (signal(KIND.THUMB, True), 1.0),
        (signal(KIND.THUMB, False), 0.0),
        (signal(KIND.THUMB, "down"), 0.0),
        (signal(KIND.THUMB, 1.0), 1.0),
        (signal(KIND.RATING, 4.0), 0.75),
        (signal(KIND.RATING, 1.0), 0.0),
        (signal(KIND.RATING, 7.0, rating_min=0.0, rating_max=10.0), 0.7),
        (signal(KIND.CORRECTION, correction="Hold the reset key."), 0.0),
        (signal(KIND.CORRECTION, correction="press  RESET"), 1.0),
        (signal(KIND.OUTCOME, "accepted"), 1.0),
        (signal(KIND.OUTCOME, "retried"), 0.0),
        (signal(KIND.OUTCOME, "escalated"), 0.0),
    ],
)
def test_each_kind(feedback: Feedback, expected: float) -> None:
    assert exchange_reward([feedback], "Press reset.") == Reward(expected, feedback.kind, REWARD_VERSION)


@pytest.mark.parametrize(
    "feedback",
    [
        signal(KIND.RATING, 6.0),
        signal(KIND.RATING, math.nan),
        signal(KIND.RATING, 3.0, rating_min=5.0, rating_max=1.0),
        signal(KIND.RATING, 3.0, rating_max=math.inf),
        signal(KIND.RATING, True),
        signal(KIND.THUMB, 0.3),
        signal(KIND.THUMB, None),
        signal(KIND.OUTCOME, "shrugged"),
        signal(KIND.CORRECTION, correction="  "),
        signal(KIND.PREFERENCE, "the other one"),
        signal(KIND.THUMB, True, choice=1),
    ],
)
def test_what_cannot_be_read_is_no_reward(feedback: Feedback) -> None:
    assert exchange_reward([feedback], "Press reset.") == NO_REWARD


def test_precedence_and_falling_through_an_unreadable_signal() -> None:
    thumb = signal(KIND.THUMB, True)
    correction = signal(KIND.CORRECTION, correction="no")
    outcome = signal(KIND.OUTCOME, "accepted")
    rating = signal(KIND.RATING, 2.0)
    assert exchange_reward([thumb, correction, rating], "yes").source is KIND.CORRECTION
    assert exchange_reward([thumb, rating], "yes").source is KIND.RATING
    assert exchange_reward([correction, outcome], "yes").source is KIND.OUTCOME
    assert exchange_reward([signal(KIND.OUTCOME, "?"), thumb], "yes").source is KIND.THUMB
    assert exchange_reward([], "yes") == NO_REWARD


def test_the_newest_of_a_kind_counts_in_any_order() -> None:
    first = signal(KIND.THUMB, True, feedback_id="a", sent_at=1.0)
    later = signal(KIND.THUMB, False, feedback_id="b", sent_at=2.0)
    assert exchange_reward([first, later], "").value == 0.0
    assert exchange_reward([later, first], "").value == 0.0


def test_session_reward_is_the_mean_of_the_rated() -> None:
    assert session_reward([1.0, None, 0.0, 0.5]) == 0.5
    assert session_reward([None, None]) is None
    assert session_reward([]) is None
    assert session_reward([math.nan, 1.0]) == 1.0


def test_same_reply_forgives_form_and_not_content() -> None:
    assert same_reply("Press  reset!", "press reset")
    assert not same_reply("press reset twice", "press reset")


SAID = st.lists(
    st.tuples(
        st.sampled_from(
            (
                (KIND.THUMB, True, None),
                (KIND.THUMB, False, None),
                (KIND.RATING, 4.0, None),
                (KIND.RATING, 9.0, None),
                (KIND.CORRECTION, None, "yes"),
                (KIND.CORRECTION, None, "no"),
                (KIND.CORRECTION, None, " "),
                (KIND.OUTCOME, "retried", None),
                (KIND.OUTCOME, "?", None),
                (KIND.PREFERENCE, "no", None),
            )
        ),
        st.sampled_from((1.0, 2.0, 3.0, 4.0)),
        st.integers(0, 9),
        st.sampled_from((0, 0, 0, 1)),
    ),
    max_size=8,
    unique_by=lambda one: one[2],
)


@given(SAID)
def test_a_reward_over_time_is_the_reward_of_what_was_said_until_then(
    said: list[tuple[tuple[FeedbackKind, bool | float | str | None, str | None], float, int, int]],
) -> None:
    feedbacks = [
        signal(kind, value, correction=text, sent_at=at, feedback_id=f"f{number}", choice=choice)
        for (kind, value, text), at, number, choice in said
    ]
    heard = reward_over_time(feedbacks, "Yes.")
    for until in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0):
        assert reward_at(heard, until) == exchange_reward((f for f in feedbacks if f.sent_at <= until), "Yes.").value
    assert reward_at(heard) == exchange_reward(feedbacks, "Yes.").value
    assert all(left[0] < right[0] and left[1] != right[1] for left, right in pairwise(heard))
