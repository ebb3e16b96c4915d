"""Rollouts: one active a deployment, by the database's own index (R1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.rollouts


class RolloutActive(Exception):
    """The deployment has an active rollout already."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """``data`` holds ids, shares, digests and settings, JSON-able."""

    id: str
    deployment: str
    candidate: str
    control: str | None
    cause: str
    phase: str
    active: bool
    reason: str
    data: Mapping[str, Any]
    started_at: float
    changed_at: float
    deadline: float
    ended_at: float | None = None


def create(tx: Tx, rollout: Rollout) -> None:
    """Open a rollout. Raises RolloutActive."""
    try:
        with tx.conn.begin_nested():
            tx.conn.execute(insert(T).values({name: getattr(rollout, name) for name in Rollout.__slots__}))
    except IntegrityError as error:
        raise RolloutActive(f"{rollout.deployment} has an active rollout, {rollout.id} cannot start") from error


def get(read: Read, rollout: str) -> Rollout | None:
    """One rollout."""
    row = read.conn.execute(select(T).where(T.c.id == rollout)).first()
    return None if row is None else _rollout(row)


def active(read: Read, deployment: str) -> Rollout | None:
    """The one that runs."""
    row = read.conn.execute(select(T).where((T.c.deployment == deployment) & T.c.active)).first()
    return None if row is None else _rollout(row)


def update_phase(
    tx: Tx,
    rollout: str,
    *,
    phase: str,
    reason: str,
    at: float,
    data: Mapping[str, Any] | None = None,
    control: str | None = None,
    deadline: float | None = None,
    ended: bool = False,
) -> None:
    """Move it; ``ended=True`` closes it for good. None leaves a field as it is."""
    values: dict[str, Any] = {"phase": phase, "reason": reason, "changed_at": at}
    optional = {"data": None if data is None else dict(data), "control": control, "deadline": deadline}
    values |= {name: value for name, value in optional.items() if value is not None}
    if ended:
        values |= {"active": False, "ended_at": at}
    tx.conn.execute(update(T).where(T.c.id == rollout).values(**values))


def newest(read: Read, deployment: str, limit: int) -> list[Rollout]:
    """The newest ``limit``, newest first."""
    query = select(T).where(T.c.deployment == deployment).order_by(T.c.started_at.desc(), T.c.id.desc()).limit(limit)
    return [_rollout(row) for row in read.conn.execute(query)]


def _rollout(row: Row[Any]) -> Rollout:
    return Rollout(*row)
