"""Rows of the ledger: appended, never changed. ``daemon.ledger`` says what may be written into them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.ledger
REFS = tables.ledger_refs


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision and its reason."""

    id: int
    at: float
    deployment: str
    subject: str
    kind: str
    reason: str
    actor: str
    data: Mapping[str, Any]


def append(
    tx: Tx,
    *,
    at: float,
    deployment: str,
    subject: str,
    kind: str,
    reason: str,
    actor: str,
    data: Mapping[str, Any],
    refs: Iterable[str] = (),
) -> int:
    """Append one entry; its id. ``refs`` are the other ids under which it can be found."""
    values = {"at": at, "deployment": deployment, "subject": subject, "kind": kind, "reason": reason, "actor": actor}
    key = tx.conn.execute(insert(T).values(**values, data=dict(data))).inserted_primary_key
    assert key is not None
    others = sorted(set(refs) - {subject})
    if others:
        tx.conn.execute(insert(REFS), [{"ledger": key[0], "ref": ref} for ref in others])
    return int(key[0])


def after(read: Read, last_id: int, limit: int, deployment: str | None = None) -> list[Entry]:
    """The next ``limit`` entries behind ``last_id``, oldest first."""
    query = select(T).where(T.c.id > last_id).order_by(T.c.id).limit(limit)
    if deployment is not None:
        query = query.where(T.c.deployment == deployment)
    return [_entry(row) for row in read.conn.execute(query)]


def newest(read: Read, limit: int) -> list[Entry]:
    """The newest ``limit`` entries, oldest first."""
    return [_entry(row) for row in read.conn.execute(select(T).order_by(T.c.id.desc()).limit(limit))][::-1]


def of_subject(read: Read, subject: str, limit: int = 1000) -> list[Entry]:
    """Entries about ``subject`` and entries that name it, oldest first."""
    named = select(REFS.c.ledger).where(REFS.c.ref == subject)
    query = select(T).where((T.c.subject == subject) | T.c.id.in_(named)).order_by(T.c.id).limit(limit)
    return [_entry(row) for row in read.conn.execute(query)]


def about(read: Read, subject: str, limit: int = 1000) -> list[Entry]:
    """Entries about ``subject`` alone, oldest first."""
    query = select(T).where(T.c.subject == subject).order_by(T.c.id).limit(limit)
    return [_entry(row) for row in read.conn.execute(query)]


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.id, row.at, row.deployment, row.subject, row.kind, row.reason, row.actor, row.data)
