"""Effect proofs: what each replica showed for each version. A proof holds for one incarnation of the replica (A1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.proofs


@dataclass(frozen=True, slots=True)
class Proof:
    """``incarnation`` changes when the server process restarts; ``numbers`` is JSON-able."""

    version: str
    replica: str
    incarnation: str
    ok: bool
    reason: str
    numbers: Mapping[str, Any]
    at: float


def add(tx: Tx, proof: Proof) -> None:
    """Record a proof, good or bad; older ones stay."""
    tx.conn.execute(insert(T).values({name: getattr(proof, name) for name in Proof.__slots__}))


def latest(read: Read, version: str) -> dict[str, Proof]:
    """Replica to the newest proof of this version there."""
    query = select(T).where(T.c.version == version).order_by(T.c.id)
    return {row.replica: _proof(row) for row in read.conn.execute(query)}


def _proof(row: Row[Any]) -> Proof:
    return Proof(row.version, row.replica, row.incarnation, row.ok, row.reason, row.numbers, row.at)
