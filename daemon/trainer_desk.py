"""Training jobs over the counter: the trainer claims, reports and ends them by HTTP; rows and registry are ours."""

from __future__ import annotations

from typing import Any

from adapters.base_shape import BaseShape
from adapters.file_checks import AdapterRejected
from adapters.job import FailureReason, JobReport
from adapters.registry import Registry
from daemon import ledger
from daemon.config import Config
from daemon.store import Store, Tx, jobs
from monitors.metrics import Metrics

Json = dict[str, Any]


def claim(store: Store, config: Config, metrics: Metrics, worker: str, now: float) -> Json | None:
    """The next job for this worker, under a lease."""
    with store.begin() as tx:
        note_lost(tx, config, metrics, now)
        job = jobs.claim(tx, worker, now=now)
    return None if job is None else {**job.spec, "attempt": job.attempt}


def note_lost(tx: Tx, config: Config, metrics: Metrics, now: float) -> None:
    """Attempts whose trainer fell silent: queued again while tries are left, and recorded."""
    name = config.deployment.name
    for lost in jobs.expire(tx, now=now, lease_s=config.cycle.job_lease_s):
        data = {"attempt": lost.attempt, "job": lost.id, "again": lost.state == "queued"}
        ledger.append(tx, name, "training", lost.cycle, "lease_expired", actor="daemon", at=now, data=data)
        metrics.training_jobs.labels(outcome="lost").inc()


def take_report(
    store: Store,
    registry: Registry,
    base: BaseShape,
    config: Config,
    metrics: Metrics,
    job_id: str,
    body: JobReport,
    now: float,
) -> bool:
    """Take a report; False: drop the job."""
    if body.kind == "progress":
        with store.begin() as tx:
            return jobs.heartbeat(
                tx, job_id, worker=body.worker, attempt=body.attempt, report=body.model_dump(mode="json"), now=now
            )
    if body.kind == "failed":
        reason = body.reason or FailureReason.CRASHED
        with store.begin() as tx:
            return _failed(tx, config, metrics, job_id, body, reason.value, now)
    try:
        manifest = registry.settle(job_id, body.version, base)
    except AdapterRejected as error:
        with store.begin() as tx:
            reason = f"{FailureReason.FILE_CHECKS.value}:{error.reason}"
            return _failed(tx, config, metrics, job_id, body, reason, now)
    with store.begin() as tx:
        data = body.model_dump(mode="json") | {"version": manifest.version}
        done = jobs.finish(tx, job_id, attempt=body.attempt, report=data, at=now)
        if done:
            metrics.training_jobs.labels(outcome="done").inc()
            _note(tx, config, job_id, "trained", {"attempt": body.attempt, "version": manifest.version}, now)
        return done


def _failed(tx: Tx, config: Config, metrics: Metrics, job_id: str, body: JobReport, reason: str, now: float) -> bool:
    state = jobs.fail(tx, job_id, attempt=body.attempt, reason=reason, report=body.model_dump(mode="json"), at=now)
    if state is None:
        return False
    metrics.training_jobs.labels(outcome="failed").inc()
    _note(tx, config, job_id, reason, {"attempt": body.attempt, "again": state == "queued"}, now)
    return True


def _note(tx: Tx, config: Config, job_id: str, reason: str, data: Json, now: float) -> None:
    job = jobs.get(tx, job_id)
    subject = job.cycle if job is not None else job_id
    name = config.deployment.name
    ledger.append(tx, name, "training", subject, reason, actor="trainer", at=now, data={"job": job_id, **data})
