"""What the daemon asks of the trainer and what the trainer answers. Both cross HTTP as JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.training_config import TrainingConfig

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
"""Names that may become a folder or a served model: nothing that a path could hide in."""


class JobModel(BaseModel):
    """Immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FailureReason(StrEnum):
    """Why a job gave no version. Bounded: it labels a counter."""

    BASE_UNUSABLE = "base_unusable"
    BUFFER_UNUSABLE = "buffer_unusable"
    CHAMPION_UNUSABLE = "champion_unusable"
    EMPTY_OUTPUT = "empty_output"
    NON_FINITE_WEIGHTS = "non_finite_weights"
    FILE_CHECKS = "file_checks"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


class TrainJob(JobModel):
    """One attempt at training one candidate."""

    job_id: Name
    deployment: Name
    tenant: str
    base_dir: str
    """Folder of the base model on the trainer's machine."""
    champion: Name | None = None
    """Version whose adapter is the warm start and the teacher of the replay; None: the base itself."""
    buffer_dir: str
    """Folder with new.jsonl, replay.jsonl and anchors.jsonl."""
    buffer_digest: str
    config: TrainingConfig
    seed: int
    attempt: Annotated[int, Field(ge=1)] = 1


class JobReport(JobModel):
    """A sign of life, or the end of a job."""

    kind: Literal["progress", "done", "failed"]
    worker: Annotated[str, Field(max_length=128)]
    attempt: int
    step: int = 0
    steps: int = 0
    metrics: dict[str, float] = Field(default_factory=dict[str, float])
    version: Name | None = None
    """For done: the content-addressed name of what lies in the staging folder."""
    digest: str | None = None
    reason: FailureReason | None = None
    detail: Annotated[str, Field(max_length=2000)] = ""
    """For people: what happened, never text of a user."""


class ClaimRequest(JobModel):
    """Body of a claim."""

    worker: Annotated[str, Field(max_length=128)]


class ReportAnswer(BaseModel):
    """What the daemon says to a report; `continue` false asks the trainer to drop the job."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    go_on: bool = Field(alias="continue")
