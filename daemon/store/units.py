"""Units of a rollout and what each process was shown, in order: a verdict can be computed again from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, insert, select

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.units
EVENTS = tables.unit_events


class Unit(NamedTuple):
    """A session assigned to an arm; ``seq`` numbers the units of a rollout from 0."""

    rollout: str
    seq: int
    session: str
    identity: str
    arm: str
    propensity: float
    in_slice: bool
    capped: bool
    """Beyond its identity's three units: recorded, never counted."""
    first_at: float


class UnitEvent(NamedTuple):
    """One value that a process consumed; ``seq`` numbers the events of a rollout from 0, over all paths."""

    rollout: str
    seq: int
    path: str
    """Process that consumed it, such as ``promote`` or ``harm.reward``."""
    unit: int
    value: float
    at: float


def append(tx: Tx, new_units: Sequence[Unit], events: Sequence[UnitEvent]) -> None:
    """Add units and events. Raises sqlalchemy IntegrityError for a number or session that is taken."""
    if new_units:
        tx.conn.execute(insert(T), [unit._asdict() for unit in new_units])
    if events:
        tx.conn.execute(insert(EVENTS), [event._asdict() for event in events])


def of_rollout(read: Read, rollout: str) -> list[Unit]:
    """All units, in order."""
    query = select(T).where(T.c.rollout == rollout).order_by(T.c.seq)
    return [Unit(*row) for row in read.conn.execute(query)]


def count(read: Read, rollout: str) -> int:
    """How many units a rollout has."""
    return read.conn.execute(select(func.count()).select_from(T).where(T.c.rollout == rollout)).scalar_one()


def events_of(read: Read, rollout: str, path: str | None = None, after_seq: int = -1) -> list[UnitEvent]:
    """Events behind ``after_seq``, in order, of one path or all."""
    query = select(EVENTS).where((EVENTS.c.rollout == rollout) & (EVENTS.c.seq > after_seq)).order_by(EVENTS.c.seq)
    if path is not None:
        query = query.where(EVENTS.c.path == path)
    return [UnitEvent(*row) for row in read.conn.execute(query)]
