"""State of the pure parts (joiner, detectors, e-processes) as named bytes, committed with the events that made it."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.states


def get(read: Read, name: str) -> bytes | None:
    """The newest blob of this name."""
    return read.conn.execute(select(T.c.blob).where(T.c.name == name)).scalar_one_or_none()


def with_prefix(read: Read, prefix: str) -> dict[str, bytes]:
    """Name to blob of all names that begin with ``prefix``."""
    query = select(T.c.name, T.c.blob).where(T.c.name.startswith(prefix, autoescape=True))
    return {row.name: row.blob for row in read.conn.execute(query)}


def put(tx: Tx, name: str, blob: bytes, at: float) -> None:
    """Replace the blob of this name."""
    changed = tx.conn.execute(update(T).where(T.c.name == name).values(blob=blob, at=at)).rowcount
    if not changed:
        tx.conn.execute(insert(T).values(name=name, blob=blob, at=at))


def drop(tx: Tx, name: str) -> None:
    """Remove it; nothing happens when it is not there."""
    tx.conn.execute(delete(T).where(T.c.name == name))
