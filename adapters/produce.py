"""From a job to a version on disk: read what it names, train, write, check, and last the manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from adapters import tensor_file
from adapters.adapter_config import AdapterConfig, encode_config
from adapters.base_shape import BaseShape, BaseUnusable, read_base_shape
from adapters.buffer import Buffer, BufferUnusable, read_buffer
from adapters.durable import write_file
from adapters.file_checks import (
    CONFIG_NAME,
    DEFAULT_LIMITS,
    WEIGHTS_NAME,
    AdapterRejected,
    RejectReason,
    check_tensors,
)
from adapters.job import FailureReason, TrainJob
from adapters.manifest import (
    MANIFEST_NAME,
    ConfigValue,
    FingerprintItem,
    Manifest,
    ManifestInvalid,
    list_files,
    make_manifest,
)
from adapters.registry import Registry, UnknownVersion
from streams.failpoints import FailpointError, failpoint

Tensors = Mapping[str, NDArray[np.float32]]


class JobFailed(Exception):
    """The job gives no version; `reason` is the named reason, the message is for people and holds no user's text."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        """Keep the reason beside the message."""
        super().__init__(message)
        self.reason = reason


class Progress(Protocol):
    """Called after each step. Raises JobFailed when the job must end."""

    def __call__(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """Steps done, steps in all, and what is measured so far."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gives."""

    tensors: Tensors
    """By the names that peft saves: `base_model.model.model.layers.N.<block>.<projection>.lora_{A,B}.weight`."""
    fingerprint: list[FingerprintItem]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Task:
    """A job with what it names, read and checked."""

    job: TrainJob
    base: BaseShape
    buffer: Buffer
    champion: Path | None
    """Folder of the adapter to start from and to learn replay from; None: the base itself."""


Train = Callable[[Task, Progress], Trained]
"""The training itself: torch lives behind it."""

_REASONS: Final = {
    RejectReason.NON_FINITE: FailureReason.NON_FINITE_WEIGHTS,
    RejectReason.NO_EFFECT: FailureReason.EMPTY_OUTPUT,
}


def prepare(job: TrainJob, registry: Registry) -> Task:
    """Read what a job names. Raises JobFailed."""
    try:
        base = read_base_shape(Path(job.base_dir))
    except BaseUnusable as error:
        raise JobFailed(FailureReason.BASE_UNUSABLE, str(error)) from error
    if Path(job.buffer_dir).name != job.buffer_digest:
        raise JobFailed(FailureReason.BUFFER_UNUSABLE, f"expected buffer {job.buffer_digest[:12]} in {job.buffer_dir}")
    try:
        buffer = read_buffer(Path(job.buffer_dir))
    except BufferUnusable as error:
        raise JobFailed(FailureReason.BUFFER_UNUSABLE, str(error)) from error
    if not buffer.new:
        raise JobFailed(FailureReason.BUFFER_UNUSABLE, f"{job.buffer_dir} holds no new examples")
    return Task(job, base, buffer, _champion(job, base, registry))


def _champion(job: TrainJob, base: BaseShape, registry: Registry) -> Path | None:
    """Folder of the champion. An identity is the base, so nothing is started from it."""
    if job.champion is None:
        return None
    try:
        manifest = registry.manifest(job.champion)
        folder = registry.path(job.champion)
    except (UnknownVersion, ManifestInvalid) as error:
        raise JobFailed(FailureReason.CHAMPION_UNUSABLE, str(error)) from error
    if manifest.kind == "identity":
        return None
    if manifest.base_digest != base.digest:
        raise JobFailed(
            FailureReason.CHAMPION_UNUSABLE,
            f"{job.champion} was made for base {manifest.base_digest[:12]}, {job.base_dir} is {base.digest[:12]}",
        )
    same = (manifest.rank, manifest.alpha, sorted(manifest.targets))
    if job.config.warm_start and same != (job.config.rank, job.config.alpha, sorted(job.config.targets)):
        raise JobFailed(
            FailureReason.CHAMPION_UNUSABLE,
            f"{job.champion} has rank {manifest.rank}, alpha {manifest.alpha:g}, targets {manifest.targets}; a warm "
            "start needs the same in the training configuration, or set warm_start to false",
        )
    return folder


def produce(
    job: TrainJob, registry: Registry, train: Train, progress: Progress, clock: Callable[[], float]
) -> Manifest:
    """Train and stage one version; its manifest is the last file written. Raises JobFailed and OSError."""
    task = prepare(job, registry)
    trained = train(task, progress)
    tensors = _after_failpoint(trained.tensors)
    if not tensors:
        raise JobFailed(FailureReason.EMPTY_OUTPUT, "training gave no tensors")
    config = AdapterConfig(job.config.rank, job.config.alpha, tuple(sorted(job.config.targets)))
    folder = registry.stage(job.job_id)
    write_file(folder / WEIGHTS_NAME, tensor_file.encode(tensors))
    write_file(folder / CONFIG_NAME, encode_config(config))
    try:
        written = tensor_file.parse(memoryview((folder / WEIGHTS_NAME).read_bytes()))
        check_tensors(written, task.base, config, DEFAULT_LIMITS, identity=False)
    except AdapterRejected as error:
        raise JobFailed(_REASONS.get(error.reason, FailureReason.FILE_CHECKS), str(error)) from error
    manifest = make_manifest(
        kind="lora",
        deployment=job.deployment,
        tenant=job.tenant,
        base_digest=task.base.digest,
        rank=job.config.rank,
        alpha=job.config.alpha,
        targets=list(job.config.targets),
        files=list_files(folder),
        parent=job.champion,
        buffer_digest=job.buffer_digest,
        config=_flat(job),
        seed=job.seed,
        metrics={k: float(v) for k, v in trained.metrics.items() if math.isfinite(v)},
        fingerprint=trained.fingerprint,
        created_at=clock(),
    )
    write_file(folder / MANIFEST_NAME, manifest.to_bytes())
    return manifest


def _after_failpoint(tensors: Tensors) -> Tensors:
    """The tensors; with the failpoint `trainer.write_nan` switched on, one number of them is NaN."""
    try:
        failpoint("trainer.write_nan")
    except FailpointError:
        name = min(tensors)
        spoilt = np.array(tensors[name], dtype=np.float32)
        spoilt.flat[0] = np.nan
        return {**tensors, name: spoilt}
    return tensors


def _flat(job: TrainJob) -> dict[str, ConfigValue]:
    """The training configuration as the manifest holds it."""
    dumped: dict[str, ConfigValue] = job.config.model_dump(mode="json")
    return dumped
