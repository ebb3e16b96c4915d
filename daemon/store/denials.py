"""The deny list: a rolled-back version is never routed again without an explicit, recorded approval (R4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.denials


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a version may not be served."""

    version: str
    reason: str
    actor: str
    at: float


def deny(tx: Tx, deployment: str, version: str, *, reason: str, actor: str, at: float) -> None:
    """Put it on the list. The first reason of a denial in force stays."""
    row = tx.conn.execute(select(T.c.lifted_at).where(T.c.version == version)).first()
    values = {"reason": reason, "actor": actor, "at": at, "lifted_at": None, "lifted_reason": None}
    if row is None:
        tx.conn.execute(insert(T).values(version=version, deployment=deployment, **values))
    elif row.lifted_at is not None:
        tx.conn.execute(update(T).where(T.c.version == version).values(**values))


def lift(tx: Tx, version: str, *, reason: str, at: float) -> bool:
    """Approve it again; False when it was not denied."""
    where = (T.c.version == version) & T.c.lifted_at.is_(None)
    return tx.conn.execute(update(T).where(where).values(lifted_at=at, lifted_reason=reason)).rowcount > 0


def of_deployment(read: Read, deployment: str) -> Mapping[str, Denial]:
    """Denials in force, by version."""
    query = select(T).where((T.c.deployment == deployment) & T.c.lifted_at.is_(None))
    return {row.version: Denial(row.version, row.reason, row.actor, row.at) for row in read.conn.execute(query)}


def is_denied(read: Read, version: str) -> bool:
    """Whether a denial is in force."""
    query = select(T.c.version).where((T.c.version == version) & T.c.lifted_at.is_(None))
    return read.conn.execute(query).first() is not None
