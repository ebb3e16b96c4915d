"""The cadence: ticks, the trainer's watch, retention, and the nightly adaptation. APScheduler is known here alone."""
# pyright: standard

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from daemon.faults import ConfigError

log = structlog.get_logger(room="daemon.schedule")
THREADS: Final = 4
"""One for each kind of job, so that a slow sweep never delays a tick."""


class Schedule:
    """Named jobs, each of them running once at a time; a job that raises is logged and runs again at its next time."""

    def __init__(self) -> None:
        self._scheduler: Any = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(THREADS)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": 30},
        )

    def every(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Run ``act`` now and every ``seconds``."""
        self._scheduler.add_job(_guarded(name, act), "interval", seconds=seconds, id=name, next_run_time=datetime.now())

    def crontab(self, name: str, line: str, act: Callable[[], None]) -> None:
        """Run ``act`` at the hours of a crontab line, local time. Raises ConfigError for a line that is none."""
        try:
            trigger = CronTrigger.from_crontab(line)
        except ValueError as error:
            raise ConfigError(
                f'learning.schedule: expected a crontab line as in "0 3 * * *", got {line!r}: {error}'
            ) from error
        self._scheduler.add_job(_guarded(name, act), trigger, id=name)

    def now(self, name: str) -> None:
        """Run a job at once; when it is running, at its next time. Any thread."""
        if self._scheduler.running:
            self._scheduler.modify_job(name, next_run_time=datetime.now())

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """Start no further run and wait for those in progress; idempotent."""
        if self._scheduler.running:
            # Takes the lock that is held while due jobs are handed out: after it nothing is handed to a closed pool.
            self._scheduler.remove_all_jobs()
            self._scheduler.shutdown(wait=True)


def _guarded(name: str, act: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            act()
        except Exception as error:  # the loop must live: the state is in the store, and the next run reads it
            log.error("job_failed", job=name, error=repr(error), exc_info=True)

    return run
