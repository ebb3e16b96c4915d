"""Where the daemon is on the log: written in the transaction that holds the events below it (E1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select, update

from daemon.store import tables
from daemon.store.open import Read, Tx
from streams.log import Gap, Position

T = tables.offsets


def get_all(read: Read) -> dict[Position, int]:
    """Next offset to read of every known position."""
    return {(row.topic, row.partition): row.next_offset for row in read.conn.execute(select(T))}


def put(tx: Tx, next_offsets: Mapping[Position, int]) -> None:
    """Move the given positions. Raises ValueError for an offset below the committed one: events would count twice."""
    known = get_all(tx)
    for (topic, partition), offset in next_offsets.items():
        before = known.get((topic, partition))
        if before is None:
            tx.conn.execute(insert(T).values(topic=topic, partition=partition, next_offset=offset))
            continue
        if offset < before:
            raise ValueError(f"offset of {topic}/{partition} must not go back from {before} to {offset}")
        where = (T.c.topic == topic) & (T.c.partition == partition)
        tx.conn.execute(update(T).where(where).values(next_offset=offset))


def record_gaps(tx: Tx, gaps: Sequence[Gap], at: float) -> None:
    """Keep what retention took before we read it (E4), and go on behind it. Where the log was replaced by a younger one
    that is back: its offsets are others, and its events are known by their ids.
    """
    for gap in gaps:
        where = (T.c.topic == gap.topic) & (T.c.partition == gap.partition)
        tx.conn.execute(update(T).where(where).values(next_offset=gap.found))
    rows = [
        {"topic": g.topic, "partition": g.partition, "expected": g.expected, "found": g.found, "at": at} for g in gaps
    ]
    if rows:
        tx.conn.execute(insert(tables.gaps), rows)


def gaps(read: Read) -> list[Gap]:
    """All recorded gaps, oldest first."""
    query = select(tables.gaps).order_by(tables.gaps.c.id)
    return [Gap(row.topic, row.partition, row.expected, row.found) for row in read.conn.execute(query)]
