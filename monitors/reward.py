"""The reward of an exchange, from its feedback: one pure function, its version stored with each example.

Precedence: outcome > correction > rating > thumb. A signal that cannot be read (a rating out of its range, an unknown
outcome) says nothing and the next one is asked. No feedback is no reward, never 0.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.events import Feedback, FeedbackKind

REWARD_VERSION = "1"
"""Raise it when any rule below changes: rewards of two versions are not compared."""

_PRECEDENCE = (FeedbackKind.OUTCOME, FeedbackKind.CORRECTION, FeedbackKind.RATING, FeedbackKind.THUMB)
_OUTCOMES = {"accepted": 1.0, "retried": 0.0, "escalated": 0.0}
_THUMBS = {"up": 1.0, "down": 0.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward in [0, 1] or none, and which kind of feedback it came from."""

    value: float | None
    source: FeedbackKind | None
    version: str = REWARD_VERSION


NO_REWARD = Reward(None, None)
Heard = tuple[tuple[float, float | None], ...]
"""The reward of an exchange as it was heard: from each instant on (wall-clock seconds, ascending) this one, or none.
Empty: no feedback gave any.
"""


def exchange_reward(feedbacks: Iterable[Feedback], completion: str) -> Reward:
    """Reward of one exchange from its feedback and the reply that was served.

    Of several signals of one kind the newest counts (ties by id). Only feedback on choice 0 does: the captured reply.
    """
    newest: dict[FeedbackKind, Feedback] = {}
    for feedback in sorted(feedbacks, key=lambda f: (f.sent_at, f.feedback_id)):
        if feedback.choice == 0:
            newest[feedback.kind] = feedback
    for kind in _PRECEDENCE:
        value = _signal(newest[kind], completion) if kind in newest else None
        if value is not None:
            return Reward(value, kind)
    return NO_REWARD


def reward_over_time(feedbacks: Iterable[Feedback], completion: str) -> Heard:
    """What ``exchange_reward`` gives of the feedback sent until any instant: enough to know it without the texts."""
    says: dict[FeedbackKind, float | None] = {}
    heard: list[tuple[float, float | None]] = []
    for feedback in sorted(feedbacks, key=lambda f: (f.sent_at, f.feedback_id)):
        if feedback.choice != 0:
            continue
        says[feedback.kind] = _signal(feedback, completion)
        if heard and heard[-1][0] == feedback.sent_at:
            heard.pop()
        value = next((says[kind] for kind in _PRECEDENCE if says.get(kind) is not None), None)
        if value != (heard[-1][1] if heard else None):
            heard.append((feedback.sent_at, value))
    return tuple(heard)


def reward_at(heard: Heard, until_s: float = math.inf) -> float | None:
    """The reward by what was sent until ``until_s``, inclusive; None when there was none yet.

    >>> reward_at(((10.0, 1.0), (20.0, 0.0)), 15.0)
    1.0
    """
    past = bisect_right(heard, until_s, key=lambda step: step[0])
    return heard[past - 1][1] if past else None


def session_reward(rewards: Sequence[float | None]) -> float | None:
    """Mean over the rated exchanges of a session; None when none was rated.

    >>> session_reward([1.0, None, 0.0])
    0.5
    """
    rated = [r for r in rewards if r is not None and math.isfinite(r)]
    return math.fsum(rated) / len(rated) if rated else None


def same_reply(left: str, right: str) -> bool:
    """Equality after normalisation: Unicode NFKC, case, runs of white space and closing punctuation do not count.

    >>> same_reply("Press  reset.", "press reset")
    True
    """
    return _normal(left) == _normal(right)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .!?…")


def _signal(feedback: Feedback, completion: str) -> float | None:
    """What one signal says, or None when it cannot be read."""
    value = feedback.value
    match feedback.kind:
        case FeedbackKind.OUTCOME:
            return _OUTCOMES.get(value.casefold()) if isinstance(value, str) else None
        case FeedbackKind.CORRECTION:
            text = feedback.correction if feedback.correction is not None else value
            if not isinstance(text, str) or not text.strip():
                return None
            return 1.0 if same_reply(text, completion) else 0.0
        case FeedbackKind.RATING:
            return _rating(value, feedback.rating_min, feedback.rating_max)
        case FeedbackKind.THUMB:
            if isinstance(value, str):
                return _THUMBS.get(value.casefold())
            return float(value) if value in (0, 1) else None
        case FeedbackKind.PREFERENCE:
            return None


def _rating(value: bool | float | str | None, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not (low < high and low <= value <= high and math.isfinite(high - low)):
        return None
    return (value - low) / (high - low)
