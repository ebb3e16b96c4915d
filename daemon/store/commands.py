"""Wishes of operators that wait for the controller's next tick (a rollback never waits here)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.commands
State = Literal["queued", "done", "refused"]


@dataclass(frozen=True, slots=True)
class Command:
    """A verb of the API with its arguments; ``answer`` is the named reason of its outcome."""

    id: int
    verb: str
    args: Mapping[str, Any]
    actor: str
    reason: str
    state: State
    answer: str | None
    at: float
    settled_at: float | None


def queue(tx: Tx, verb: str, args: Mapping[str, Any], *, actor: str, reason: str, at: float) -> int:
    """Add a command; its id."""
    values = {"verb": verb, "args": dict(args), "actor": actor, "reason": reason, "at": at}
    key = tx.conn.execute(insert(T).values(**values, state="queued")).inserted_primary_key
    assert key is not None
    return int(key[0])


def queued(read: Read, limit: int = 100) -> list[Command]:
    """What waits, oldest first."""
    query = select(T).where(T.c.state == "queued").order_by(T.c.id).limit(limit)
    return [_command(row) for row in read.conn.execute(query)]


def settle(tx: Tx, command: int, state: State, *, answer: str, at: float) -> None:
    """Record its outcome."""
    tx.conn.execute(update(T).where(T.c.id == command).values(state=state, answer=answer, settled_at=at))


def get(read: Read, command: int) -> Command | None:
    """One command."""
    row = read.conn.execute(select(T).where(T.c.id == command)).first()
    return None if row is None else _command(row)


def _command(row: Row[Any]) -> Command:
    return Command(
        row.id,
        row.verb,
        row.args,
        row.actor,
        row.reason,
        row.state,
        row.answer,
        row.at,
        row.settled_at,
    )
