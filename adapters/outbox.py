"""Results that the daemon has not acknowledged yet, one small file each: a trained version outlives both processes."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.durable import write_file
from adapters.job import JobReport, Name


class Letter(BaseModel):
    """The end of one job, still to be delivered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: Name
    report: JobReport


class Outbox:
    """A folder of letters. One trainer writes (it holds the lock); at most one new letter a job."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def put(self, letter: Letter) -> None:
        """Make a letter durable. Raises OSError."""
        write_file(self._folder / f"{letter.job_id}.json", letter.model_dump_json().encode())

    def oldest(self) -> Letter | None:
        """The next letter to deliver. Files that are no letters are set aside under another name."""
        for path in sorted(self._folder.glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
            try:
                return Letter.model_validate_json(path.read_bytes())
            except ValidationError:
                path.rename(path.with_suffix(".unreadable"))
        return None

    def drop(self, letter: Letter) -> None:
        """Forget a delivered letter."""
        (self._folder / f"{letter.job_id}.json").unlink(missing_ok=True)
