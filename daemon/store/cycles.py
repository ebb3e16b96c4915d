"""Learning cycles: from an alarm (or a wish) to a gated version. One active cycle a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.cycles


@dataclass(frozen=True, slots=True)
class Cycle:
    """``data`` holds ids, digests, counts and settings of the cycle, JSON-able."""

    id: str
    deployment: str
    cause: str
    phase: str
    active: bool
    reason: str
    data: Mapping[str, Any]
    started_at: float
    changed_at: float


def create(
    tx: Tx, *, cycle: str, deployment: str, cause: str, phase: str, reason: str, data: Mapping[str, Any], at: float
) -> Cycle:
    """Open a cycle. Raises sqlalchemy IntegrityError when the deployment has an active one."""
    row = Cycle(cycle, deployment, cause, phase, True, reason, dict(data), at, at)
    tx.conn.execute(insert(T).values({name: getattr(row, name) for name in Cycle.__slots__}))
    return row


def get(read: Read, cycle: str) -> Cycle | None:
    """One cycle."""
    row = read.conn.execute(select(T).where(T.c.id == cycle)).first()
    return None if row is None else _cycle(row)


def active(read: Read, deployment: str) -> Cycle | None:
    """The one that runs."""
    row = read.conn.execute(select(T).where((T.c.deployment == deployment) & T.c.active)).first()
    return None if row is None else _cycle(row)


def update_phase(
    tx: Tx, cycle: str, *, phase: str, reason: str, data: Mapping[str, Any], at: float, active: bool = True
) -> None:
    """Move it; ``active=False`` ends it."""
    values = {"phase": phase, "reason": reason, "data": dict(data), "changed_at": at, "active": active}
    tx.conn.execute(update(T).where(T.c.id == cycle).values(**values))


def newest(read: Read, deployment: str, limit: int) -> list[Cycle]:
    """The newest ``limit``, newest first."""
    query = select(T).where(T.c.deployment == deployment).order_by(T.c.started_at.desc(), T.c.id.desc()).limit(limit)
    return [_cycle(row) for row in read.conn.execute(query)]


def _cycle(row: Row[Any]) -> Cycle:
    return Cycle(*row)
