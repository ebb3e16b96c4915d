"""Counts that must survive a restart and agree with the events: raised in the transaction that stores these."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import insert, select, update

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.counters


def get_all(read: Read) -> dict[str, int]:
    """Name to count."""
    return {row.name: row.value for row in read.conn.execute(select(T))}


def add(tx: Tx, increments: Mapping[str, int]) -> None:
    """Raise counters; unknown names start at zero. Names come from code, never from events."""
    for name, by in increments.items():
        changed = tx.conn.execute(update(T).where(T.c.name == name).values(value=T.c.value + by)).rowcount
        if not changed:
            tx.conn.execute(insert(T).values(name=name, value=by))
