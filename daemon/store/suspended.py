"""Examples that a rollback suspended: no later version may learn from them until an operator lifts it (R4)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, insert, select, update

from daemon.store import tables
from daemon.store.batches import batches
from daemon.store.open import Read, Tx

T = tables.suspended


def add(tx: Tx, rollout: str, exchange_ids: Sequence[str], at: float) -> int:
    """Suspend these for this rollout; how many were not suspended by it before."""
    known: set[str] = set()
    for piece in batches(exchange_ids):
        query = select(T.c.exchange_id).where((T.c.rollout == rollout) & T.c.exchange_id.in_(piece))
        known.update(tx.conn.execute(query).scalars())
    fresh = dict.fromkeys(one for one in exchange_ids if one not in known)
    if fresh:
        tx.conn.execute(insert(T), [{"exchange_id": one, "rollout": rollout, "at": at} for one in fresh])
    return len(fresh)


def lift(tx: Tx, rollout: str, *, reason: str, at: float) -> int:
    """Lift what this rollout suspended; how many examples."""
    where = (T.c.rollout == rollout) & T.c.lifted_at.is_(None)
    return tx.conn.execute(update(T).where(where).values(lifted_at=at, lifted_reason=reason)).rowcount


def all_ids(read: Read) -> set[str]:
    """Everything suspended now."""
    return set(read.conn.execute(select(T.c.exchange_id).where(T.c.lifted_at.is_(None)).distinct()).scalars())


def counts(read: Read) -> dict[str, int]:
    """Rollout to how many examples it holds suspended."""
    query = select(T.c.rollout, func.count()).where(T.c.lifted_at.is_(None)).group_by(T.c.rollout)
    return {row[0]: row[1] for row in read.conn.execute(query)}
