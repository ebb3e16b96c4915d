"""Events that could not be used: stored with the offsets, then sent to their topic (an outbox)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx
from streams.events import DeadLetter

T = tables.dead_letters


def insert_new(tx: Tx, letters: Sequence[DeadLetter]) -> int:
    """Store letters whose position is not stored yet; how many were new."""
    fresh: dict[tuple[str, int, int], DeadLetter] = {}
    for letter in letters:
        position = (letter.topic, letter.partition, letter.offset)
        if position not in fresh and not _known(tx, position):
            fresh[position] = letter
    rows = [
        {
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "reason": letter.reason,
            "detail": letter.detail,
            "payload": letter.payload_b64,
            "at": letter.at,
        }
        for letter in fresh.values()
    ]
    if rows:
        tx.conn.execute(insert(T), rows)
    return len(rows)


def unsent(read: Read, limit: int) -> list[DeadLetter]:
    """Letters that wait for the dead-letter topic, oldest first."""
    query = select(T).where(T.c.sent_at.is_(None)).order_by(T.c.at, T.c.topic, T.c.partition, T.c.offset).limit(limit)
    return [_letter(row) for row in read.conn.execute(query)]


def mark_sent(tx: Tx, letters: Sequence[DeadLetter], at: float) -> None:
    """They are on the topic now."""
    for letter in letters:
        tx.conn.execute(update(T).where(_at((letter.topic, letter.partition, letter.offset))).values(sent_at=at))


def by_reason(read: Read) -> dict[str, int]:
    """How many of each reason."""
    return {row[0]: row[1] for row in read.conn.execute(select(T.c.reason, func.count()).group_by(T.c.reason))}


def forget_text(tx: Tx, before_s: float) -> int:
    """Blank the payload of letters that were sent before ``before_s``; how many."""
    where = (T.c.sent_at < before_s) & T.c.payload.is_not(None)
    return tx.conn.execute(update(T).where(where).values(payload=None, detail="")).rowcount


def _at(position: tuple[str, int, int]) -> Any:
    return (T.c.topic == position[0]) & (T.c.partition == position[1]) & (T.c.offset == position[2])


def _known(read: Read, position: tuple[str, int, int]) -> bool:
    return read.conn.execute(select(T.c.offset).where(_at(position))).first() is not None


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        reason=row.reason,
        detail=row.detail,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        payload_b64=row.payload or "",
        at=row.at,
    )
