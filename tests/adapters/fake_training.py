"""A daemon in memory and a training without torch, for the tests of the trainer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from adapters.buffer import write_buffer
from adapters.job import JobReport, TrainJob
from adapters.manifest import FingerprintItem
from adapters.policy import SelectionPolicy
from adapters.produce import Progress, Task, Trained
from adapters.selection import select
from adapters.trainer_api import DaemonAway
from adapters.training_config import TrainingConfig
from tests.adapters.samples import ALPHA, RANK, example, random_tensors, write_base

CONFIG = TrainingConfig(rank=RANK, alpha=ALPHA, steps=4)


def make_job(home: Path, job_id: str = "job-1", *, attempt: int = 1, champion: str | None = None) -> TrainJob:
    """A job whose base and buffer are really there."""
    if not (home / "base").exists():
        write_base(home / "base")
    given = [example(i, f"cancel voucher {i}", identity=f"i{i}", target="gone") for i in range(30)]
    selection = select(given, SelectionPolicy(holdout_share=0.0, min_new=1), 0)
    return TrainJob(
        job_id=job_id,
        deployment="support",
        tenant="acme",
        base_dir=str(home / "base"),
        champion=champion,
        buffer_dir=str(write_buffer(home / "artifacts" / "buffers", selection)),
        buffer_digest=selection.digest,
        config=CONFIG,
        seed=3,
        attempt=attempt,
    )


class FakeDaemon:
    """Gives its jobs once each, in order, and keeps every report. `away` makes it unreachable, `wanted` answers."""

    def __init__(self, *jobs: TrainJob) -> None:
        self._lock = threading.Lock()
        self._jobs = list(jobs)
        self.reports: list[tuple[str, JobReport]] = []
        self.claims = 0
        self.away = False
        self.wanted = True
        self.failed_calls = 0

    def claim(self, worker: str) -> TrainJob | None:
        with self._lock:
            self._look()
            self.claims += 1
            return self._jobs.pop(0) if self._jobs else None

    def report(self, job_id: str, report: JobReport) -> bool:
        with self._lock:
            self._look()
            self.reports.append((job_id, report))
            return self.wanted

    def ends(self) -> list[JobReport]:
        """The reports that end a job."""
        with self._lock:
            return [r for _, r in self.reports if r.kind != "progress"]

    def progress(self) -> list[JobReport]:
        """The signs of life."""
        with self._lock:
            return [r for _, r in self.reports if r.kind == "progress"]

    def _look(self) -> None:
        if self.away:
            self.failed_calls += 1
            raise DaemonAway("nobody answers")


def train(task: Task, progress: Progress) -> Trained:
    """Random tensors of the right shapes, after as many steps as the job asks for."""
    steps = task.job.config.steps
    for step in range(1, steps + 1):
        progress(step, steps, {"loss": 1.0 / step})
    item = FingerprintItem(
        prompt_ids=[1], expected_ids=[2], expected_logprobs=[-0.1], base_ids=[3], base_logprobs=[-0.2]
    )
    return Trained(random_tensors(task.base, task.job.seed), [item], {"loss": 0.5, "nll": float("nan")})


def spoilt(task: Task, progress: Progress) -> Trained:
    """A training that ends with one NaN."""
    trained = train(task, progress)
    name = min(trained.tensors)
    trained.tensors[name][0, 0] = np.nan
    return trained


class Held:
    """A training that goes on, step by step, until it is let go."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()

    def __call__(self, task: Task, progress: Progress) -> Trained:
        self.started.set()
        step = 0
        while not self.release.wait(0.005):
            step += 1
            progress(min(step, 1000), 100_000, {"loss": 1.0})
        return train(task, progress)


def raising(error: Callable[[], BaseException]) -> Callable[[Task, Progress], Trained]:
    """A training that dies of `error()`."""

    def broken(task: Task, progress: Progress) -> Trained:
        raise error()

    return broken
