"""The trainer's loop with a daemon in memory: jobs done, jobs failed, and a daemon that goes away."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.base_shape import BaseShape, read_base_shape
from adapters.file_checks import check_adapter
from adapters.job import FailureReason, JobReport
from adapters.outbox import Letter, Outbox
from adapters.produce import JobFailed, Progress, Task, Train, Trained
from adapters.registry import Registry
from adapters.trainer import Trainer, TrainerOptions, TrainerRunning, run_trainer
from adapters.trainer_api import TrainerRefused
from tests.adapters.fake_training import CONFIG, FakeDaemon, Held, make_job, raising, spoilt, train
from tests.adapters.samples import ALPHA, RANK, random_tensors, write_adapter
from tests.waiting import wait_until

FAST = TrainerOptions(poll_s=0.01, heartbeat_s=0.02, backoff_first_s=0.01, backoff_max_s=0.05)


@contextmanager
def working(daemon: FakeDaemon, home: Path, training: Train, options: TrainerOptions = FAST) -> Generator[Trainer]:
    """A trainer at work in a thread, stopped at the end; what killed it is raised."""
    trainer = Trainer(daemon, home / "artifacts", "worker-1", training, options, clock=lambda: 77.0)
    died: list[TrainerRefused] = []

    def run() -> None:
        try:
            trainer.run()
        except TrainerRefused as error:
            died.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield trainer
    finally:
        trainer.stop()
        thread.join(5.0)
        trainer.close()
        if died:
            raise died[0]
    assert not thread.is_alive()


def end_of(daemon: FakeDaemon) -> JobReport:
    """How the only job ended."""
    wait_until(daemon.ends, 10.0, "the end of the job")
    return daemon.ends()[0]


def test_a_job_becomes_a_version_that_the_registry_admits(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    daemon = FakeDaemon(job)
    with working(daemon, tmp_path, train):
        end = end_of(daemon)
    registry, base = Registry(tmp_path / "artifacts"), read_base_shape(Path(job.base_dir))
    manifest = registry.settle(job.job_id, end.version, base)
    assert (end.kind, end.version, end.attempt, end.worker) == ("done", manifest.version, 1, "worker-1")
    assert (manifest.buffer_digest, manifest.base_digest, manifest.seed) == (job.buffer_digest, base.digest, 3)
    assert manifest.metrics == {"loss": 0.5} == end.metrics, "a NaN metric must not spoil the manifest"
    assert manifest.created_at == 77.0 and manifest.config["steps"] == CONFIG.steps
    assert check_adapter(registry.path(manifest.version), base) == manifest
    assert not list((tmp_path / "artifacts" / "outbox").iterdir())


def test_the_same_job_gives_the_same_version(tmp_path: Path) -> None:
    daemon = FakeDaemon(make_job(tmp_path, "job-1"), make_job(tmp_path, "job-2"))
    with working(daemon, tmp_path, train):
        wait_until(lambda: len(daemon.ends()) == 2, 10.0, "both jobs")
    one, two = daemon.ends()
    assert one.version == two.version


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        (spoilt, FailureReason.NON_FINITE_WEIGHTS),
        (raising(MemoryError), FailureReason.OUT_OF_MEMORY),
        (raising(lambda: RuntimeError("the text of a user")), FailureReason.CRASHED),
        (raising(lambda: SystemExit(0)), FailureReason.CRASHED),
        (raising(lambda: JobFailed(FailureReason.TIMED_OUT, "late")), FailureReason.TIMED_OUT),
    ],
    ids=["nan", "memory", "crash", "exit", "late"],
)
def test_a_job_that_goes_wrong_is_reported_with_its_reason(
    tmp_path: Path, training: Train, reason: FailureReason
) -> None:
    daemon = FakeDaemon(make_job(tmp_path))
    with working(daemon, tmp_path, training):
        end = end_of(daemon)
        wait_until(lambda: daemon.claims > 1, 10.0, "the trainer to ask for more work")
    assert (end.kind, end.reason, end.version) == ("failed", reason, None)
    assert "text of a user" not in end.detail and end.detail
    assert not (tmp_path / "artifacts" / "staging" / "job-1" / "manifest.json").exists()


def nothing(task: Task, progress: Progress) -> Trained:
    """For the first job no tensors at all, for the next ones only zeros."""
    if task.job.job_id == "job-1":
        return Trained({}, [])
    return Trained({n: t * ("lora_A" in n) for n, t in random_tensors(task.base).items()}, [])


def test_nothing_trained_is_no_version(tmp_path: Path) -> None:
    daemon = FakeDaemon(make_job(tmp_path), make_job(tmp_path, "job-2"))
    with working(daemon, tmp_path, nothing):
        wait_until(lambda: len(daemon.ends()) == 2, 10.0, "both jobs")
    assert [e.reason for e in daemon.ends()] == [FailureReason.EMPTY_OUTPUT] * 2


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("base_dir", "/nowhere", FailureReason.BASE_UNUSABLE),
        ("buffer_dir", "/nowhere", FailureReason.BUFFER_UNUSABLE),
        ("champion", "support-000000000000", FailureReason.CHAMPION_UNUSABLE),
    ],
)
def test_a_job_that_names_what_is_not_there_fails_with_its_reason(
    tmp_path: Path, field: str, value: str, reason: FailureReason
) -> None:
    daemon = FakeDaemon(make_job(tmp_path).model_copy(update={field: value}))
    with working(daemon, tmp_path, train):
        assert end_of(daemon).reason is reason


def test_the_champion_is_the_start_unless_it_is_an_identity(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    registry, base = Registry(tmp_path / "artifacts"), read_base_shape(Path(job.base_dir))
    champion = registry.admit(_staged(registry, base), base).version
    targets = list(CONFIG.targets)
    identity = registry.admit_identity(
        base, deployment="support", tenant="acme", rank=RANK, alpha=ALPHA, targets=targets
    ).version
    seen: list[Path | None] = []

    def looking(task: Task, progress: Progress) -> Trained:
        seen.append(task.champion)
        return train(task, progress)

    jobs = [
        job.model_copy(update={"champion": champion}),
        job.model_copy(update={"job_id": "job-2", "champion": identity}),
        job.model_copy(
            update={"job_id": "job-3", "champion": champion, "config": CONFIG.model_copy(update={"rank": 8})}
        ),
    ]
    daemon = FakeDaemon(*jobs)
    with working(daemon, tmp_path, looking):
        wait_until(lambda: len(daemon.ends()) == 3, 10.0, "three jobs")
    assert seen == [registry.path(champion), None]
    assert daemon.ends()[2].reason is FailureReason.CHAMPION_UNUSABLE


def _staged(registry: Registry, base: BaseShape) -> Path:
    folder = registry.stage("champion")
    write_adapter(folder, base, random_tensors(base, seed=9))
    return folder


def test_signs_of_life_go_on_while_it_trains(tmp_path: Path) -> None:
    daemon, held = FakeDaemon(make_job(tmp_path)), Held()
    with working(daemon, tmp_path, held):
        wait_until(lambda: len(daemon.progress()) >= 3, 10.0, "three heartbeats")
        steps = [r.step for r in daemon.progress()]
        held.release.set()
        end = end_of(daemon)
    assert steps == sorted(steps) and steps[-1] > 0
    assert end.kind == "done"


def test_a_job_that_nobody_wants_is_dropped_without_a_result(tmp_path: Path) -> None:
    daemon, held = FakeDaemon(make_job(tmp_path)), Held()
    daemon.wanted = False
    with working(daemon, tmp_path, held):
        wait_until(lambda: daemon.claims > 1, 10.0, "the next claim")
    assert held.started.is_set() and not held.release.is_set()
    assert daemon.ends() == []


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    daemon = FakeDaemon(job.model_copy(update={"config": CONFIG.model_copy(update={"max_seconds": 0.05})}))
    with working(daemon, tmp_path, Held()):
        assert end_of(daemon).reason is FailureReason.TIMED_OUT


def test_a_result_waits_on_disk_while_the_daemon_is_away(tmp_path: Path) -> None:
    daemon, held = FakeDaemon(make_job(tmp_path)), Held()
    outbox = Outbox(tmp_path / "artifacts" / "outbox")
    with working(daemon, tmp_path, held):
        wait_until(held.started.is_set, 10.0, "the training to begin")
        daemon.away = True
        held.release.set()
        wait_until(outbox.oldest, 10.0, "the result on disk")
        wait_until(lambda: daemon.failed_calls > 3, 10.0, "more tries")
    assert daemon.ends() == []
    # The process is gone; the next one finds the letter, delivers it first and then asks for work.
    daemon.away = False
    with working(daemon, tmp_path, train):
        assert end_of(daemon).kind == "done"
        wait_until(lambda: outbox.oldest() is None, 10.0, "an empty outbox")


def test_letters_are_delivered_oldest_first_and_what_is_none_is_set_aside(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    report = JobReport(kind="failed", worker="w", attempt=1, reason=FailureReason.CRASHED)
    for name in ("job-b", "job-a"):
        outbox.put(Letter(job_id=name, report=report))
    (tmp_path / "torn.json").write_text('{"job_id": "x"')
    first = outbox.oldest()
    assert first is not None and first.job_id == "job-b"
    outbox.drop(first)
    second = outbox.oldest()
    assert second is not None and second.job_id == "job-a"
    outbox.drop(second)
    assert outbox.oldest() is None
    assert (tmp_path / "torn.unreadable").exists()


def test_a_second_trainer_of_the_same_folder_is_not_needed(tmp_path: Path) -> None:
    trainer = Trainer(FakeDaemon(), tmp_path, "one", train, FAST)
    with pytest.raises(TrainerRunning, match="another trainer"):
        Trainer(FakeDaemon(), tmp_path, "two", train, FAST)
    assert run_trainer(FakeDaemon(), tmp_path, train, "two", FAST) == 0
    trainer.close()
    Trainer(FakeDaemon(), tmp_path, "three", train, FAST).close()


class ClosedDoor(FakeDaemon):
    """A daemon that does not know this trainer."""

    def claim(self, worker: str) -> None:
        raise TrainerRefused("wrong token")


def test_a_refused_trainer_ends_instead_of_trying_for_ever(tmp_path: Path) -> None:
    assert run_trainer(ClosedDoor(), tmp_path, train, "one", FAST) == 1
