"""The row functions of versions, proofs, denials, buffers and jobs, over the tables in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

from daemon.store import jobs as job_rows
from daemon.store import versions as version_rows
from daemon.store.buffers import Buffer, Item
from daemon.store.denials import Denial
from daemon.store.jobs import Job
from daemon.store.proofs import Proof
from daemon.store.versions import Version
from tests.episodes.twin_tables import Json, TwinTx, as_json, changed


def versions_register(tx: TwinTx, version: Version) -> bool:
    if version.version in tx.t.versions:
        return False
    tx.put(tx.t.versions, version.version, version)
    return True


def versions_get(read: TwinTx, version: str) -> Version | None:
    return read.t.versions.get(version)


def versions_of_deployment(read: TwinTx, deployment: str, limit: int = 1000) -> list[Version]:
    return sorted(read.t.versions.values(), key=lambda v: (-v.created_at, v.version))[:limit]


def versions_set_gate(tx: TwinTx, version: str, gate: Json, *, passed: bool) -> None:
    row = changed(tx.t.versions[version], gate=as_json(dict(gate)))
    if row.status in ("registered", "gated"):
        tx.put(tx.t.versions, version, changed(row, status="gated") if passed else row)


def versions_promote(tx: TwinTx, version: str, at: float) -> None:
    if version in tx.t.versions:
        newest = max((v.promoted_at for v in tx.t.versions.values() if v.promoted_at is not None), default=None)
        above = at if newest is None else max(at, newest + version_rows.STEP_S)
        tx.put(tx.t.versions, version, changed(tx.t.versions[version], status="promoted", promoted_at=above))


def versions_set_status(tx: TwinTx, version: str, status: version_rows.Status) -> None:
    if version in tx.t.versions:
        tx.put(tx.t.versions, version, changed(tx.t.versions[version], status=status))


def versions_promoted_stack(read: TwinTx, deployment: str) -> list[Version]:
    found = [v for v in read.t.versions.values() if v.status == "promoted" and v.kind != "identity"]
    if any(v.kind == "demonstrations" for v in found):
        gone = {v.version for v in read.t.versions.values() if v.status == "denied"}
        found = [v for v in found if v.kind != "demonstrations" or v.parent not in gone]
    if len(found) < 2:
        return found
    return sorted(found, key=lambda v: v.promoted_at or 0.0, reverse=True)


def proofs_add(tx: TwinTx, proof: Proof) -> None:
    tx.add(tx.t.proofs, changed(proof, numbers=as_json(dict(proof.numbers))))


def proofs_latest(read: TwinTx, version: str) -> dict[str, Proof]:
    return {p.replica: p for p in read.t.proofs if p.version == version}


def denials_deny(tx: TwinTx, deployment: str, version: str, *, reason: str, actor: str, at: float) -> None:
    if version not in tx.t.denials:
        tx.put(tx.t.denials, version, Denial(version, reason, actor, at))


def denials_lift(tx: TwinTx, version: str, *, reason: str, at: float) -> bool:
    known = version in tx.t.denials
    tx.drop(tx.t.denials, version)
    return known


def denials_of_deployment(read: TwinTx, deployment: str) -> Mapping[str, Denial]:
    return dict(read.t.denials)


def denials_is_denied(read: TwinTx, version: str) -> bool:
    return version in read.t.denials


def suspended_add(tx: TwinTx, rollout: str, exchange_ids: Sequence[str], at: float) -> int:
    fresh = [one for one in dict.fromkeys(exchange_ids) if (one, rollout) not in tx.t.suspended]
    for one in fresh:
        tx.put(tx.t.suspended, (one, rollout), at)
    return len(fresh)


def suspended_all_ids(read: TwinTx) -> set[str]:
    return {one for one, _ in read.t.suspended}


def buffers_add(tx: TwinTx, buffer: Buffer, items: Sequence[Item]) -> bool:
    if buffer.digest in tx.t.buffers:
        return False
    tx.put(tx.t.buffers, buffer.digest, buffer)
    tx.put(tx.t.items, buffer.digest, sorted(items, key=attrgetter("exchange_id", "role")))
    return True


def buffers_get(read: TwinTx, digest: str) -> Buffer | None:
    return read.t.buffers.get(digest)


def buffers_items(read: TwinTx, digest: str, role: str | None = None) -> list[Item]:
    return [i for i in read.t.items.get(digest, ()) if role is None or i.role == role]


def jobs_create(tx: TwinTx, *, job: str, cycle: str, spec: Json, max_attempts: int, at: float) -> None:
    if job not in tx.t.jobs:
        row = Job(job, cycle, "queued", 0, max_attempts, None, as_json(dict(spec)), {}, "queued", at, None, None, None)
        tx.put(tx.t.jobs, job, row)


def jobs_claim(tx: TwinTx, worker: str, *, now: float) -> Job | None:
    queued = sorted((j for j in tx.t.jobs.values() if j.state == "queued"), key=attrgetter("created_at", "id"))
    if not queued:
        return None
    row = queued[0]
    row = changed(row, state="claimed", worker=worker, attempt=row.attempt + 1, claimed_at=now, heartbeat_at=now)
    tx.put(tx.t.jobs, row.id, changed(row, reason="claimed"))
    return tx.t.jobs[row.id]


def jobs_heartbeat(tx: TwinTx, job: str, *, worker: str, attempt: int, report: Json, now: float) -> bool:
    row = tx.t.jobs.get(job)
    if row is None or (row.state, row.worker, row.attempt) != ("claimed", worker, attempt):
        return False
    tx.put(tx.t.jobs, job, changed(row, heartbeat_at=now, report=as_json(dict(report))))
    return True


def jobs_finish(tx: TwinTx, job: str, *, attempt: int, report: Json, at: float) -> bool:
    row = tx.t.jobs.get(job)
    if row is None or (row.state, row.attempt) != ("claimed", attempt):
        return False
    tx.put(tx.t.jobs, job, changed(row, state="done", report=as_json(dict(report)), reason="done", ended_at=at))
    return True


def jobs_fail(tx: TwinTx, job: str, *, attempt: int, reason: str, report: Json, at: float) -> job_rows.State | None:
    row = tx.t.jobs.get(job)
    if row is None or (row.state, row.attempt) != ("claimed", attempt):
        return None
    again = attempt < row.max_attempts
    state: job_rows.State = "queued" if again else "failed"
    ended = None if again else at
    new = changed(row, state=state, worker=None, report=as_json(dict(report)), reason=reason, ended_at=ended)
    tx.put(tx.t.jobs, job, new)
    return state


def jobs_expire(tx: TwinTx, *, now: float, lease_s: float) -> list[Job]:
    for row in [j for j in tx.t.jobs.values() if j.state == "claimed" and (j.heartbeat_at or 0.0) > now]:
        tx.put(tx.t.jobs, row.id, changed(row, heartbeat_at=now))
    gone = [j for j in tx.t.jobs.values() if j.state == "claimed" and (j.heartbeat_at or 0.0) < now - lease_s]
    for row in gone:
        jobs_fail(tx, row.id, attempt=row.attempt, reason="lease_expired", report=row.report, at=now)
    return [tx.t.jobs[row.id] for row in gone]


def jobs_cancel(tx: TwinTx, job: str, *, reason: str, at: float) -> None:
    row = tx.t.jobs.get(job)
    if row is not None and row.state in ("queued", "claimed"):
        tx.put(tx.t.jobs, job, changed(row, state="cancelled", reason=reason, ended_at=at))


def jobs_get(read: TwinTx, job: str) -> Job | None:
    return read.t.jobs.get(job)


def jobs_of_cycle(read: TwinTx, cycle: str) -> list[Job]:
    return sorted((j for j in read.t.jobs.values() if j.cycle == cycle), key=attrgetter("created_at"))
