"""Events with sensible defaults, for tests that care about one or two of their fields."""

from __future__ import annotations

from typing import Any

from streams.events import Exchange, Feedback, FeedbackKind, Message, Trust


def exchange(number: int, **changes: Any) -> Exchange:
    """Exchange ``x<number>``, received at ``1000 + number`` seconds."""
    at = 1000.0 + number
    event = Exchange(
        exchange_id=f"x{number}",
        deployment="support",
        tenant="default",
        session=f"s{number}",
        identity=f"i{number}",
        messages=(Message(role="user", content=f"question {number}"),),
        completion=f"answer {number}",
        version="support-base",
        received_at=at,
        dispatched_at=at,
        completed_at=at + 0.5,
        status=200,
        completion_token_ids=(1, 2, 3),
    )
    return event.model_copy(update=changes)


def feedback(number: int, exchange_id: str, **changes: Any) -> Feedback:
    """Feedback ``f<number>`` on an exchange, a thumb up sent at ``1000 + number`` seconds."""
    event = Feedback(
        feedback_id=f"f{number}",
        exchange_id=exchange_id,
        deployment="support",
        tenant="default",
        kind=FeedbackKind.THUMB,
        value=True,
        trust=Trust.TOKEN,
        sent_at=1000.0 + number,
    )
    return event.model_copy(update=changes)
