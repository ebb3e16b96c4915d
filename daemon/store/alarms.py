"""Alarms of the monitors and what the controller answered to each: an alarm is answered once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.batches import present
from daemon.store.open import Read, Tx
from monitors.alarms import Alarm

T = tables.alarms


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm as stored; ``body`` is the whole of it, JSON-able, as the monitor made it."""

    alarm_id: str
    deployment: str
    kind: str
    detector: str
    primary: bool
    confirmed: bool
    at: float
    body: Mapping[str, Any]
    answer: str | None = None
    """Id of the cycle it started, or the reason why it started none; None while nobody looked."""
    seq: int = 0
    """Order of storing; set by the store."""

    @classmethod
    def of(cls, alarm: Alarm) -> AlarmRow:
        """The row of a monitor's alarm."""
        body = alarm.model_dump(mode="json")
        kind = str(alarm.kind)
        names = (alarm.alarm_id, alarm.deployment, kind, alarm.detector)
        return cls(*names, alarm.primary, alarm.confirmed, alarm.at, body)

    @property
    def alarm(self) -> Alarm:
        """The alarm as the monitor made it, its slice included."""
        return Alarm.model_validate_json(orjson.dumps(self.body))


def insert_new(tx: Tx, alarms: Sequence[AlarmRow]) -> set[str]:
    """Store alarms not stored yet; their ids."""
    known = present(tx, T.c.alarm_id, (a.alarm_id for a in alarms))
    fresh = {a.alarm_id: a for a in alarms if a.alarm_id not in known}
    seq = tx.conn.execute(select(func.coalesce(func.max(T.c.seq), 0))).scalar_one()
    rows = [
        {
            "alarm_id": a.alarm_id,
            "seq": seq + number,
            "deployment": a.deployment,
            "kind": a.kind,
            "detector": a.detector,
            "primary": a.primary,
            "confirmed": a.confirmed,
            "at": a.at,
            "body": dict(a.body),
        }
        for number, a in enumerate(fresh.values(), start=1)
    ]
    if rows:
        tx.conn.execute(insert(T), rows)
    return set(fresh)


def get(read: Read, alarm_id: str) -> AlarmRow | None:
    """One alarm."""
    row = read.conn.execute(select(T).where(T.c.alarm_id == alarm_id)).first()
    return None if row is None else _alarm(row)


def unanswered(read: Read, deployment: str, limit: int = 100) -> list[AlarmRow]:
    """Confirmed alarms of primary detectors that the controller has not answered, oldest first."""
    where = (T.c.deployment == deployment) & T.c.primary & T.c.confirmed & T.c.answer.is_(None)
    return [_alarm(row) for row in read.conn.execute(select(T).where(where).order_by(T.c.seq).limit(limit))]


def answer(tx: Tx, alarm_id: str, text: str | None) -> None:
    """Record what became of it: a cycle's id or a reason; None opens it again."""
    tx.conn.execute(update(T).where(T.c.alarm_id == alarm_id).values(answer=text))


def newest(read: Read, deployment: str, limit: int) -> list[AlarmRow]:
    """The newest ``limit``, oldest first."""
    query = select(T).where(T.c.deployment == deployment).order_by(T.c.seq.desc()).limit(limit)
    return [_alarm(row) for row in read.conn.execute(query)][::-1]


def _alarm(row: Row[Any]) -> AlarmRow:
    return AlarmRow(
        alarm_id=row.alarm_id,
        deployment=row.deployment,
        kind=row.kind,
        detector=row.detector,
        primary=row.primary,
        confirmed=row.confirmed,
        at=row.at,
        body=row.body,
        answer=row.answer,
        seq=row.seq,
    )
