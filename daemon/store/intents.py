"""Intents: the row that is on the disk before an effect is in the world, so that a restart knows what to finish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.intents
State = Literal["pending", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Intent:
    """One external effect of a rollout; ``args`` is JSON-able."""

    id: int
    rollout: str
    effect: str
    args: Mapping[str, Any]
    state: State
    reason: str
    at: float
    settled_at: float | None


def declare(tx: Tx, *, rollout: str, effect: str, args: Mapping[str, Any], reason: str, at: float) -> int:
    """Say what is about to be done; the intent's id. An equal pending intent is returned instead of a second one."""
    for known in pending(tx, rollout):
        if known.effect == effect and dict(known.args) == dict(args):
            return known.id
    values = {"rollout": rollout, "effect": effect, "args": dict(args), "reason": reason, "at": at}
    key = tx.conn.execute(insert(T).values(**values, state="pending")).inserted_primary_key
    assert key is not None
    return int(key[0])


def settle(tx: Tx, intent: int, state: State, *, reason: str, at: float) -> None:
    """It was done, or it failed for good."""
    tx.conn.execute(update(T).where(T.c.id == intent).values(state=state, reason=reason, settled_at=at))


def pending(read: Read, rollout: str | None = None) -> list[Intent]:
    """What may or may not have happened, oldest first."""
    query = select(T).where(T.c.state == "pending").order_by(T.c.id)
    if rollout is not None:
        query = query.where(T.c.rollout == rollout)
    return [_intent(row) for row in read.conn.execute(query)]


def of_rollout(read: Read, rollout: str) -> list[Intent]:
    """All effects of a rollout, oldest first."""
    return [_intent(row) for row in read.conn.execute(select(T).where(T.c.rollout == rollout).order_by(T.c.id))]


def _intent(row: Row[Any]) -> Intent:
    return Intent(row.id, row.rollout, row.effect, row.args, row.state, row.reason, row.at, row.settled_at)
