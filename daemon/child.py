"""The trainer as a child of the daemon: started, watched and restarted with a bounded back-off.

The child has a session of its own and writes to a file, so it outlives a daemon that was killed: it finishes its job
and reports to the next daemon. That one's child finds the trainer's lock taken and exits 0; it is tried again later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from daemon.faults import ConfigError

LOG_BYTES: Final = 10_000_000
log = structlog.get_logger(room="daemon.child")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart."""

    first_s: float
    longest_s: float

    def wait_s(self, short_lives: int) -> float:
        """Seconds to wait after the n-th short life in a row (n from 1)."""
        return min(self.longest_s, self.first_s * 2 ** min(short_lives - 1, 30))


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """What to run."""

    argv: Sequence[str]
    log_file: Path
    backoff: Backoff
    environment: Mapping[str, str]


class Child:
    """One child process. ``poll`` is called often and never blocks; at most one process is alive at any instant."""

    def __init__(self, options: ChildOptions, clock: Callable[[], float]) -> None:
        """``clock`` gives monotonic seconds."""
        self._options, self._clock = options, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started, self._next_start = 0.0, 0.0
        self._short_lives = 0
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Process id while it is alive."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def restarts(self) -> int:
        """Short lives in a row: 0 while all is well."""
        return self._short_lives

    def poll(self) -> None:
        """Start it when it is due; notice that it died. Raises ConfigError when the interpreter is not there."""
        now = self._clock()
        if self._stopped or self.pid is not None:
            return
        if self._process is not None:
            self._died(self._process.returncode, now)
        if now >= self._next_start:
            self._start(now)

    def _died(self, code: int, now: float) -> None:
        long_life = now - self._started >= self._options.backoff.longest_s
        self._short_lives = 1 if long_life else self._short_lives + 1
        self._next_start = now + self._options.backoff.wait_s(self._short_lives)
        self._process = None
        log.warning("trainer_exited", code=code, restart_in_s=round(self._next_start - now, 3))

    def _start(self, now: float) -> None:
        path = self._options.log_file
        # Its own file, begun anew when long: a pipe would break with the daemon and take the child along.
        mode = "ab" if not path.exists() or path.stat().st_size < LOG_BYTES else "wb"
        try:
            with path.open(mode) as output:
                self._process = subprocess.Popen(
                    list(self._options.argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **self._options.environment},
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise ConfigError(
                f"trainer.python: {self._options.argv[0]} is not there: name the interpreter of an environment "
                "with torch and peft, or set trainer.kind to external or none"
            ) from error
        self._started = now
        log.info("trainer_started", pid=self._process.pid, log=str(path))

    def stop(self, grace_s: float) -> None:
        """Ask it to end, then end it; its job is tried again later. Idempotent."""
        self._stopped = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait(1.0)


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
