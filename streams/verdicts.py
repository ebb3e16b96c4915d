"""Which feedback counts for an exchange: one per kind, chosen the same way in whatever order they arrive."""

from __future__ import annotations

from typing import Final

from streams.events import Feedback, FeedbackKind, Trust

_STRENGTH: Final = {Trust.TOKEN: 2, Trust.PRODUCER: 1, Trust.BARE: 0}
_PLACE: Final = {kind: place for place, kind in enumerate(FeedbackKind)}


def rank(feedback: Feedback) -> tuple[int, float, str]:
    """The greatest counts: stronger trust first (who knows only an id never overrules who holds the token), then the
    later one, then the greater id, so that ties are broken alike everywhere."""
    return (_STRENGTH[feedback.trust], feedback.sent_at, feedback.feedback_id)


def in_order(counted: dict[FeedbackKind, Feedback]) -> tuple[Feedback, ...]:
    """The counted feedback in the fixed order of kinds."""
    return tuple(sorted(counted.values(), key=lambda feedback: _PLACE[feedback.kind]))
