"""Feedback as it came, every revision of it; which one counts ``streams.verdicts`` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, exists, insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.batches import batches, present
from daemon.store.open import Read, Tx
from streams.events import Feedback, FeedbackKind

T = tables.feedback


def insert_new(tx: Tx, events: Sequence[Feedback]) -> set[str]:
    """Store the events that are not stored yet; their ids. Of a repeated id the first stays."""
    known = present(tx, T.c.feedback_id, (e.feedback_id for e in events))
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.feedback_id not in known and event.feedback_id not in rows:
            rows[event.feedback_id] = _row(event)
    if rows:
        tx.conn.execute(insert(T), list(rows.values()))
    return set(rows)


def for_exchanges(read: Read, ids: Iterable[str]) -> dict[str, list[Feedback]]:
    """Feedback of each exchange, in the order it was sent; exchanges without any are absent."""
    found: dict[str, list[Feedback]] = {}
    for piece in batches(ids):
        query = select(T).where(T.c.exchange_id.in_(piece)).order_by(T.c.sent_at, T.c.feedback_id)
        for row in read.conn.execute(query):
            found.setdefault(row.exchange_id, []).append(_event(row))
    return found


def since(read: Read, deployment: str, from_s: float, until_s: float, limit: int) -> list[Feedback]:
    """Feedback sent in [from_s, until_s), the newest ``limit`` of it, oldest first (then by id)."""
    where = (T.c.deployment == deployment) & (T.c.sent_at >= from_s) & (T.c.sent_at < until_s)
    query = select(T).where(where).order_by(T.c.sent_at.desc(), T.c.feedback_id.desc()).limit(limit)
    return [_event(row) for row in read.conn.execute(query)][::-1]


def forget_text(tx: Tx, exchange_ids: Iterable[str]) -> int:
    """Blank what people wrote about these exchanges; how many. Thumbs, ratings and outcomes stay."""
    return sum(_blank(tx, T.c.exchange_id.in_(piece) & T.c.text.is_not(None)) for piece in batches(exchange_ids))


def forget_strays(tx: Tx, before_s: float, limit: int) -> int:
    """The same for the oldest ``limit`` sent before ``before_s`` whose exchange is unknown, or has lost its text before
    they came; how many. While the exchange has its text they keep theirs: its reward is still to be made of both.
    """
    exchange = tables.exchanges.c
    spoken = exists().where((exchange.exchange_id == T.c.exchange_id) & exchange.text.is_not(None))
    where = (T.c.sent_at < before_s) & T.c.text.is_not(None) & ~spoken
    ids = tx.conn.execute(select(T.c.feedback_id).where(where).order_by(T.c.sent_at).limit(limit)).scalars().all()
    return sum(_blank(tx, T.c.feedback_id.in_(piece)) for piece in batches(ids))


def _blank(tx: Tx, where: ColumnElement[bool]) -> int:
    return tx.conn.execute(update(T).where(where).values(text=None)).rowcount


def _text_fields(kind: FeedbackKind) -> set[str]:
    # The value of a preference is the chosen text itself; that of a correction may be the right text.
    spoken = kind in (FeedbackKind.PREFERENCE, FeedbackKind.CORRECTION)
    return {"correction", "comment", "value"} if spoken else {"correction", "comment"}


def _row(event: Feedback) -> dict[str, Any]:
    fields = _text_fields(event.kind)
    return {
        "feedback_id": event.feedback_id,
        "exchange_id": event.exchange_id,
        "deployment": event.deployment,
        "identity": event.identity,
        "kind": event.kind.value,
        "sent_at": event.sent_at,
        "facts": event.model_dump_json(exclude=fields),
        "text": event.model_dump_json(include=fields),
    }


def _event(row: Row[Any]) -> Feedback:
    text: dict[str, Any] = orjson.loads(row.text) if row.text is not None else {}
    return Feedback.model_validate(orjson.loads(row.facts) | text)
