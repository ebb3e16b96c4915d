"""When each session was first seen: a unit of a rollout is a session that began after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select

from daemon.store import tables
from daemon.store.batches import batches
from daemon.store.open import Read, Tx

T = tables.sessions


@dataclass(frozen=True, slots=True)
class Session:
    """First contact with a session."""

    deployment: str
    session: str
    first_at: float
    first_exchange: str


def insert_new(tx: Tx, found: Sequence[Session]) -> set[str]:
    """Store sessions not seen yet (all of one deployment); their keys. The first of equal keys stays."""
    rows: dict[str, Session] = {}
    for session in found:
        rows.setdefault(session.session, session)
    for deployment in {s.deployment for s in rows.values()}:
        for key in get_many(tx, deployment, rows):
            rows.pop(key, None)
    if rows:
        tx.conn.execute(insert(T), [asdict(s) for s in rows.values()])
    return set(rows)


def begun(read: Read, deployment: str, from_s: float, until_s: float) -> Iterator[Session]:
    """Sessions that began in [from_s, until_s), in that order (then by key)."""
    where = (T.c.deployment == deployment) & (T.c.first_at >= from_s) & (T.c.first_at < until_s)
    for row in read.conn.execute(select(T).where(where).order_by(T.c.first_at, T.c.session)):
        yield Session(row.deployment, row.session, row.first_at, row.first_exchange)


def get_many(read: Read, deployment: str, keys: Iterable[str]) -> dict[str, Session]:
    """The known ones among ``keys``."""
    known: dict[str, Session] = {}
    for piece in batches(keys):
        where = (T.c.deployment == deployment) & T.c.session.in_(piece)
        for row in read.conn.execute(select(T).where(where)):
            known[row.session] = Session(row.deployment, row.session, row.first_at, row.first_exchange)
    return known
