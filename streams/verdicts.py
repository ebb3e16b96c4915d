"""Which feedback counts for an exchange: one per kind, chosen the same way in whatever order they arrive; and which
cannot be about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from streams.dead_letters import Reason
from streams.events import Feedback, FeedbackKind, Trust

_STRENGTH: Final = {Trust.TOKEN: 2, Trust.PRODUCER: 1, Trust.BARE: 0}
_PLACE: Final = {kind: place for place, kind in enumerate(FeedbackKind)}


class Served(Protocol):
    """What a feedback is held against: an exchange, or what is remembered of it."""

    @property
    def deployment(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def session(self) -> str: ...


def contradiction(served: Served, feedback: Feedback) -> Reason | None:
    """Why a feedback cannot be about this exchange, or None."""
    if feedback.tenant != served.tenant or feedback.deployment != served.deployment:
        return Reason.WRONG_TENANT
    if feedback.trust is not Trust.BARE and feedback.session is not None and feedback.session != served.session:
        return Reason.SESSION_MISMATCH
    if feedback.choice != 0:
        return Reason.CHOICE_NOT_CAPTURED
    return None


def rank(feedback: Feedback) -> tuple[int, float, str]:
    """The greatest counts: stronger trust first (who knows only an id never overrules who holds the token), then the
    later one, then the greater id, so that ties are broken alike everywhere."""
    return (_STRENGTH[feedback.trust], feedback.sent_at, feedback.feedback_id)


def in_order(counted: dict[FeedbackKind, Feedback]) -> tuple[Feedback, ...]:
    """The counted feedback in the fixed order of kinds."""
    return tuple(sorted(counted.values(), key=lambda feedback: _PLACE[feedback.kind]))


def heard(served: Served, said: Iterable[Feedback]) -> list[Feedback]:
    """Of all that was said of an exchange the trusted feedback that counted when it was sent, oldest first.

    The newest of a kind that was sent until any instant is the one that counts then, in whatever order they came.
    """
    standing: dict[FeedbackKind, Feedback] = {}
    found: list[Feedback] = []
    for feedback in sorted(said, key=lambda f: (f.sent_at, f.feedback_id)):
        if feedback.trust is Trust.BARE or contradiction(served, feedback) is not None:
            continue
        before = standing.get(feedback.kind)
        if before is None or rank(feedback) > rank(before):
            standing[feedback.kind] = feedback
            found.append(feedback)
    return found
