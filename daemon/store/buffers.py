"""Which examples a version learned from, and why each was in or out (lineage both ways)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import insert, select

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.buffers
ITEMS = tables.buffer_items


@dataclass(frozen=True, slots=True)
class Buffer:
    """A selection; ``counts`` is role and stage to number, JSON-able."""

    digest: str
    deployment: str
    tenant: str
    cause: str
    counts: Mapping[str, Any]
    created_at: float


@dataclass(frozen=True, slots=True)
class Item:
    """One decision of the selection: ``role`` is new, replay, anchors, a hold-out or ``dropped``."""

    exchange_id: str
    role: str
    stage: str
    reason: str


def add(tx: Tx, buffer: Buffer, items: Sequence[Item]) -> bool:
    """Store a buffer with its decisions unless its digest is known; whether it was new."""
    if get(tx, buffer.digest) is not None:
        return False
    tx.conn.execute(insert(T).values({name: getattr(buffer, name) for name in Buffer.__slots__}))
    rows = {(item.exchange_id, item.role): asdict(item) | {"buffer": buffer.digest} for item in items}
    if rows:
        tx.conn.execute(insert(ITEMS), list(rows.values()))
    return True


def get(read: Read, digest: str) -> Buffer | None:
    """One buffer."""
    row = read.conn.execute(select(T).where(T.c.digest == digest)).first()
    if row is None:
        return None
    return Buffer(row.digest, row.deployment, row.tenant, row.cause, row.counts, row.created_at)


def items(read: Read, digest: str, role: str | None = None) -> list[Item]:
    """Its decisions, by exchange id."""
    query = select(ITEMS).where(ITEMS.c.buffer == digest).order_by(ITEMS.c.exchange_id, ITEMS.c.role)
    if role is not None:
        query = query.where(ITEMS.c.role == role)
    return [Item(row.exchange_id, row.role, row.stage, row.reason) for row in read.conn.execute(query)]


def with_exchange(read: Read, exchange_id: str) -> list[tuple[str, Item]]:
    """(buffer digest, decision) of every buffer that looked at this exchange."""
    query = select(ITEMS).where(ITEMS.c.exchange_id == exchange_id).order_by(ITEMS.c.buffer, ITEMS.c.role)
    rows = read.conn.execute(query)
    return [(row.buffer, Item(row.exchange_id, row.role, row.stage, row.reason)) for row in rows]
