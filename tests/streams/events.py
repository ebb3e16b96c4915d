"""Events for the tests of this room: plain ones, changed by keyword."""

from __future__ import annotations

from typing import Any

from streams.codec import encode_exchange, encode_feedback
from streams.events import Exchange, Feedback, FeedbackKind, Message, Trust
from streams.log import Record

T0 = 1_800_000_000.0
"""Wall time at which the tests play."""


def exchange(exchange_id: str = "x1", at: float = T0, **changes: Any) -> Exchange:
    """An exchange that completed at ``at``."""
    fields: dict[str, Any] = {
        "exchange_id": exchange_id,
        "deployment": "support",
        "tenant": "acme",
        "session": "s1",
        "identity": "i1",
        "messages": (Message(role="user", content="How do I change my card?"),),
        "completion": "Open settings, then cards.",
        "version": "support-base",
        "received_at": at - 0.5,
        "dispatched_at": at - 0.4,
        "completed_at": at,
        "status": 200,
    }
    return Exchange(**(fields | changes))


def feedback(feedback_id: str = "f1", exchange_id: str = "x1", at: float = T0 + 1, **changes: Any) -> Feedback:
    """A thumb up that was sent at ``at`` with the token of its exchange."""
    fields: dict[str, Any] = {
        "feedback_id": feedback_id,
        "exchange_id": exchange_id,
        "deployment": "support",
        "tenant": "acme",
        "session": "s1",
        "identity": "i1",
        "kind": FeedbackKind.THUMB,
        "value": True,
        "trust": Trust.TOKEN,
        "sent_at": at,
    }
    return Feedback(**(fields | changes))


def record(value: bytes, at: float = T0 + 10, topic: str = "t", partition: int = 0, offset: int = 0) -> Record:
    """``value`` as it lies on the log, appended at ``at``."""
    return Record(topic, partition, offset, "s1", value, at)


def wire(event: Exchange | Feedback, at: float = T0 + 10) -> Record:
    """An event encoded and appended."""
    encoded = (
        encode_exchange(event, "/gateway/a") if isinstance(event, Exchange) else encode_feedback(event, "/gateway/a")
    )
    return record(encoded, at)
