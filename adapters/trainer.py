"""The trainer sidecar: a process of its own that owns the GPU share, takes one job at a time and may die at any line.

    main thread     deliver old results ── claim ── heartbeat every second ── result into the outbox ── deliver ──┐
                        ▲                                │ cancel                ▲                                │
                        └────────────────────────────────│───────────────────────│────────────────────────────────┘
    worker thread                                        ▼ read, train, stage, check, manifest

Nothing is lost by a kill: staging without a manifest is nothing, a result waits in the outbox until the daemon has it,
and a job without heartbeats is given to somebody else. At most one job, one worker thread and one unread result.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog

from adapters.job import FailureReason, JobReport, TrainJob
from adapters.outbox import Letter, Outbox
from adapters.produce import JobFailed, Train, produce
from adapters.registry import Registry
from adapters.trainer_api import DaemonAway, TrainerApi, TrainerRefused
from streams.failpoints import failpoint

log = structlog.get_logger(room="adapters.trainer")


class TrainerRunning(Exception):
    """Another trainer works in the same folder; this one is not needed."""


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """Durations of the trainer's loop, in seconds."""

    poll_s: float = 0.5
    """Between two claims when there is nothing to do; a claim is one small query."""
    heartbeat_s: float = 1.0
    """Between two signs of life; the daemon gives a silent job away after several."""
    backoff_first_s: float = 0.25
    """First wait when the daemon is away; doubled at each further try."""
    backoff_max_s: float = 10.0
    """Longest wait when the daemon is away: it comes back at any time, and then wants its result."""
    grace_s: float = 3.5
    """From SIGTERM to a hard exit. Training checks for it after each step; whatever takes longer is cut off."""


class Job:
    """One job in the worker thread, and what the two threads tell each other."""

    def __init__(
        self,
        job: TrainJob,
        worker: str,
        registry: Registry,
        train: Train,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`clock` gives wall seconds for the manifest, `monotonic` the time that a job may take."""
        self.job, self._worker = job, worker
        self._registry, self._train, self._clock = registry, train, clock
        self._monotonic, self._deadline = monotonic, monotonic() + job.config.max_seconds
        self._cancelled = threading.Event()
        self._latest = JobReport(kind="progress", worker=worker, attempt=job.attempt)
        self._result: JobReport | None = None
        self._thread = threading.Thread(target=self._run, name=f"job-{job.job_id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; True when it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Ask it to end after the step it is in."""
        self._cancelled.set()

    @property
    def latest(self) -> JobReport:
        """The newest progress."""
        return self._latest

    @property
    def result(self) -> JobReport | None:
        """How it ended; None while it runs."""
        return self._result

    def _progress(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        if 2 * step >= steps:
            failpoint("trainer.kill_mid_job")
        # One reference assignment: the other thread sees the old report or the new one.
        self._latest = self._latest.model_copy(update={"step": step, "steps": steps, "metrics": dict(metrics)})
        if self._cancelled.is_set():
            raise JobFailed(FailureReason.CANCELLED, "asked to stop")
        if self._monotonic() > self._deadline:
            raise JobFailed(FailureReason.TIMED_OUT, f"not done after {self.job.config.max_seconds:g} s")

    def _run(self) -> None:
        try:
            manifest = produce(self.job, self._registry, self._train, self._progress, self._clock)
            self._result = self._latest.model_copy(
                update={
                    "kind": "done",
                    "version": manifest.version,
                    "digest": manifest.digest,
                    "metrics": manifest.metrics,
                }
            )
        except JobFailed as error:
            self._result = self._failed(error.reason, str(error))
        except BaseException as error:  # noqa: BLE001 - a library that calls exit() must not end a job in silence
            reason = FailureReason.CRASHED
            if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
                reason = FailureReason.OUT_OF_MEMORY
            self._result = self._failed(reason, _where(error))

    def _failed(self, reason: FailureReason, detail: str) -> JobReport:
        return self._latest.model_copy(update={"kind": "failed", "reason": reason, "detail": detail[:2000]})


def _where(error: BaseException) -> str:
    """Type and place of an unforeseen error: its message may hold a user's text, so it stays out of reports."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class Trainer:
    """The loop. An embeddable object: `run` until `stop` is called."""

    def __init__(
        self,
        api: TrainerApi,
        artifacts: Path,
        worker: str,
        train: Train,
        options: TrainerOptions | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the folder's lock. Raises TrainerRunning when another trainer holds it, and OSError."""
        self._api, self._worker, self._train = api, worker, train
        self._options = options or TrainerOptions()
        self._clock, self._monotonic = clock, monotonic
        self._registry = Registry(artifacts)
        self._outbox = Outbox(artifacts / "outbox")
        self._stop = threading.Event()
        self._tries = 0
        self._lock = _lock(artifacts / "trainer.lock")

    def stop(self) -> None:
        """Ask `run` to return; safe in a signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)

    def run(self) -> None:
        """Work until stopped. Raises TrainerRefused when the daemon will never accept this trainer."""
        while not self._stop.is_set():
            try:
                waited = self._round()
            except DaemonAway as error:
                self._tries += 1
                wait = min(self._options.backoff_max_s, self._options.backoff_first_s * 2 ** min(self._tries - 1, 30))
                log.warning("daemon_away", tries=self._tries, again_in_s=wait, detail=str(error))
                self._stop.wait(wait)
                continue
            self._tries = 0
            if not waited:
                self._stop.wait(self._options.poll_s)

    def _round(self) -> bool:
        """One result delivered or one job done; False when there was nothing to do. Raises DaemonAway."""
        letter = self._outbox.oldest()
        if letter is not None:
            known = self._api.report(letter.job_id, letter.report)
            self._outbox.drop(letter)
            log.info("result_delivered", job=letter.job_id, kind=letter.report.kind, wanted=known)
            return True
        job = self._api.claim(self._worker)
        if job is None:
            return False
        self._work(job)
        return True

    def _work(self, job: TrainJob) -> None:
        log.info("job_started", job=job.job_id, attempt=job.attempt)
        running = Job(job, self._worker, self._registry, self._train, self._clock, self._monotonic)
        running.start()
        wanted = True
        while not running.wait(self._options.heartbeat_s):
            if self._stop.is_set() or not wanted:
                running.cancel()
                continue
            wanted = self._heartbeat(running)
        result = running.result
        if result is None or result.reason is FailureReason.CANCELLED:
            # Stopped from outside or not wanted: the daemon gives the job away when its lease runs out.
            log.info("job_dropped", job=job.job_id, attempt=job.attempt)
            return
        self._outbox.put(Letter(job_id=job.job_id, report=result))
        log.info("job_ended", job=job.job_id, kind=result.kind, reason=result.reason, version=result.version)

    def _heartbeat(self, running: Job) -> bool:
        try:
            return self._api.report(running.job.job_id, running.latest)
        except DaemonAway as error:
            log.warning("heartbeat_failed", job=running.job.job_id, detail=str(error))
            return True


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise TrainerRunning(f"another trainer works in {path.parent}: this one is not needed") from error
    return descriptor


def run_trainer(
    api: TrainerApi, artifacts: Path, train: Train, worker: str, options: TrainerOptions | None = None
) -> int:
    """The trainer as a process, until SIGTERM or SIGINT; the exit status.

    0: asked to stop, or another trainer is at work here. 1: the daemon refuses this trainer. Must run in the main
    thread. Ends within `grace_s` of the signal, whatever the job is doing.
    """
    options = options or TrainerOptions()
    try:
        trainer = Trainer(api, artifacts, worker, train, options)
    except TrainerRunning as error:
        log.info("trainer_not_needed", detail=str(error))
        return 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        trainer.stop()
        # A step of a large model or a hanging peer may outlast any patience; nothing is lost by a hard end.
        deadline = threading.Timer(options.grace_s, os._exit, (0,))
        deadline.daemon = True
        deadline.start()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        trainer.run()
    except TrainerRefused as error:
        log.error("trainer_refused", detail=str(error))
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        trainer.close()
    return 0
