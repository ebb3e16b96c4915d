"""Child processes of a run: started with a log file each, watched, stopped in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 8.0
"""Seconds from SIGTERM to SIGKILL: the daemon promises to drain in less than 5."""


class ChildFailed(Exception):
    """A process of the run ended or never became ready; the message ends with the tail of its log."""


@dataclass(slots=True)
class Child:
    """A running process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def tail(self) -> str:
        """The last lines of its log."""
        return tail(self.log)


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


class Children:
    """All child processes of one run; ``stop`` ends them last in, first out, and may be called twice."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    async def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a process, output in ``<logs>/<name>.log``. A group of its own: Ctrl-C reaches the demo alone."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._running.append(child)
        return child

    async def ready(self, child: Child, probe: Callable[[], Awaitable[bool]], deadline_s: float, what: str) -> None:
        """Wait until a probe holds. Raises ChildFailed when the process ends first or time runs out."""
        until = time.monotonic() + deadline_s
        while not await probe():
            if not child.running:
                raise ChildFailed(
                    f"{child.name} ended with code {child.process.returncode} before {what}:\n{tail(child.log)}"
                )
            if time.monotonic() > until:
                raise ChildFailed(
                    f"{child.name}: waited {deadline_s:.0f} s for {what}; its log ends:\n{tail(child.log)}"
                )
            await asyncio.sleep(0.1)

    def forget(self, child: Child) -> None:
        """A process that was meant to end is no longer watched."""
        self._running.remove(child)

    def check(self) -> None:
        """Raise ChildFailed for the first process that has ended although nobody stopped it."""
        for child in self._running:
            if not child.running:
                raise ChildFailed(f"{child.name} ended with code {child.process.returncode}:\n{tail(child.log)}")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for what is still there after the grace; whole process groups at the end."""
        while self._running:
            child = self._running.pop()
            if child.running:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(child.process.wait(), GRACE_S)
                except TimeoutError:
                    with contextlib.suppress(ProcessLookupError):
                        child.process.kill()
                    await child.process.wait()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
