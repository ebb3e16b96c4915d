"""Training jobs: claimed under a lease, kept by heartbeats, tried a bounded number of times.

A claimed job ends as ``done``; a failed attempt, or one without a heartbeat for ``lease_s``, goes back to ``queued``
while tries are left, else to ``failed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.jobs
State = Literal["queued", "claimed", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """``spec`` is the job as the trainer gets it and ``report`` its newest report, both JSON-able."""

    id: str
    cycle: str
    state: State
    attempt: int
    """Tries begun so far; the running one included."""
    max_attempts: int
    worker: str | None
    spec: Mapping[str, Any]
    report: Mapping[str, Any]
    reason: str
    created_at: float
    claimed_at: float | None
    heartbeat_at: float | None
    ended_at: float | None


def create(tx: Tx, *, job: str, cycle: str, spec: Mapping[str, Any], max_attempts: int, at: float) -> None:
    """Queue a job; nothing happens when this id exists."""
    if get(tx, job) is None:
        values = {"id": job, "cycle": cycle, "spec": dict(spec), "max_attempts": max_attempts, "created_at": at}
        tx.conn.execute(insert(T).values(**values, state="queued", attempt=0, report={}, reason="queued"))


def claim(tx: Tx, worker: str, *, now: float) -> Job | None:
    """The oldest queued job, now this worker's; None when there is nothing to do. Call ``expire`` first."""
    row = tx.conn.execute(select(T).where(T.c.state == "queued").order_by(T.c.created_at, T.c.id).limit(1)).first()
    if row is None:
        return None
    values = {"state": "claimed", "worker": worker, "attempt": row.attempt + 1, "claimed_at": now, "heartbeat_at": now}
    tx.conn.execute(update(T).where(T.c.id == row.id).values(**values, reason="claimed"))
    return get(tx, row.id)


def heartbeat(tx: Tx, job: str, *, worker: str, attempt: int, report: Mapping[str, Any], now: float) -> bool:
    """Keep the lease and the newest report; False when the job is not this attempt's any more: stop working."""
    where = (T.c.id == job) & (T.c.state == "claimed") & (T.c.worker == worker) & (T.c.attempt == attempt)
    return tx.conn.execute(update(T).where(where).values(heartbeat_at=now, report=dict(report))).rowcount > 0


def finish(tx: Tx, job: str, *, attempt: int, report: Mapping[str, Any], at: float) -> bool:
    """The attempt succeeded; False when it is not the running one (it expired, or was cancelled)."""
    where = (T.c.id == job) & (T.c.state == "claimed") & (T.c.attempt == attempt)
    values = {"state": "done", "report": dict(report), "reason": "done", "ended_at": at}
    return tx.conn.execute(update(T).where(where).values(**values)).rowcount > 0


def fail(tx: Tx, job: str, *, attempt: int, reason: str, report: Mapping[str, Any], at: float) -> State | None:
    """The attempt failed: queued again while tries are left, else failed. None when it is not the running one."""
    found = get(tx, job)
    if found is None or found.state != "claimed" or found.attempt != attempt:
        return None
    again = attempt < found.max_attempts
    values: dict[str, Any] = {"state": "queued" if again else "failed", "worker": None, "report": dict(report)}
    values |= {"reason": reason, "ended_at": None if again else at}
    tx.conn.execute(update(T).where(T.c.id == job).values(**values))
    return "queued" if again else "failed"


def expire(tx: Tx, *, now: float, lease_s: float) -> list[Job]:
    """Fail attempts whose worker was silent for ``lease_s`` (reason ``lease_expired``); the jobs after it.

    A heartbeat from the future (the clock was set back) counts as one from now, or its job would wait for that future.
    """
    tx.conn.execute(update(T).where((T.c.state == "claimed") & (T.c.heartbeat_at > now)).values(heartbeat_at=now))
    rows = tx.conn.execute(select(T).where((T.c.state == "claimed") & (T.c.heartbeat_at < now - lease_s))).all()
    for row in rows:
        fail(tx, row.id, attempt=row.attempt, reason="lease_expired", report=row.report, at=now)
    return [job for row in rows if (job := get(tx, row.id)) is not None]


def cancel(tx: Tx, job: str, *, reason: str, at: float) -> None:
    """Nobody wants it any more; its worker hears so at the next heartbeat."""
    where = (T.c.id == job) & T.c.state.in_(["queued", "claimed"])
    tx.conn.execute(update(T).where(where).values(state="cancelled", reason=reason, ended_at=at))


def get(read: Read, job: str) -> Job | None:
    """One job."""
    row = read.conn.execute(select(T).where(T.c.id == job)).first()
    return None if row is None else _job(row)


def of_cycle(read: Read, cycle: str) -> list[Job]:
    """Jobs of a cycle, oldest first."""
    return [_job(row) for row in read.conn.execute(select(T).where(T.c.cycle == cycle).order_by(T.c.created_at))]


def _job(row: Row[Any]) -> Job:
    return Job(*row)
