"""The daemon as a process that is watched: started, killed, started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.conftest import ROOT, VENVS
from tests.waiting import wait_until

PYTHON = VENVS / "daemon/bin/python"
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
STOP_S = 15.0
RESTARTS_MAX = 200
"""A daemon that dies more often than that is stuck at one place, and the test has failed."""


class Process(Protocol):
    """A running daemon."""

    pid: int

    def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        ...


Launch = Callable[[Path, Mapping[str, str], Path], Process]
"""(homeostat.yaml, environment, log file) -> a running daemon."""


def execute(config: Path, env: Mapping[str, str], log: Path) -> Process:
    """``homeostat run`` as a fresh interpreter."""
    argv = [str(PYTHON), "-m", "daemon.cli.main", "run", "--config", str(config)]
    with log.open("ab") as out:
        return subprocess.Popen(
            argv, env={**os.environ, **QUIET, **env}, stdout=out, stderr=out, cwd=ROOT, start_new_session=True
        )


class Launcher:
    """Owns a ``tests.e2e.launcher`` process; ``launch`` forks one daemon at a time from it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(PYTHON), "-m", "tests.e2e.launcher"],
            env={**os.environ, **QUIET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._expect("ready")

    def launch(self, config: Path, env: Mapping[str, str], log: Path) -> Process:
        """``homeostat run``, forked."""
        order = {"argv": ["homeostat", "run", "--config", str(config)], "env": dict(env), "log": str(log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._expect("started")), self)

    def ended(self) -> int:
        """Wait for the forked process; its exit code."""
        return int(self._expect("ended"))

    def close(self) -> None:
        """End the launcher; its daemon must have ended before."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10.0)

    def _expect(self, word: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        first, _, rest = line.strip().partition(" ")
        assert first == word, f"expected {word} from the launcher, got {line!r}"
        return rest


@dataclass
class Forked:
    """A daemon that the launcher forked."""

    pid: int
    launcher: Launcher

    def wait(self) -> int:
        """Its exit code."""
        return self.launcher.ended()


@dataclass
class Supervisor:
    """Starts the daemon again whenever it was killed, as a service manager would; any other end is a failure.

    ``failpoints`` gives the value of HOMEOSTAT_FAILPOINTS for each start.
    """

    config: Path
    log: Path
    launch: Launch
    failpoints: Callable[[], str] = lambda: ""
    kills: int = 0
    fault: str = ""
    starts: list[float] = field(default_factory=list[float])
    _process: Process | None = None
    _stopping: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> Supervisor:
        """Begin."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()
        return self

    @property
    def running(self) -> bool:
        """Whether a daemon is kept alive."""
        return self._thread is not None and self._thread.is_alive()

    def kill(self) -> None:
        """SIGKILL, and no restart until ``start``."""
        self._stopping = True
        self._signal(signal.SIGKILL)
        self._join()

    def strike(self) -> None:
        """SIGKILL at this instant, wherever it is; it is started again."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and it must end with 0."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        self._join()
        assert not self.fault, f"{self.fault}: {self.tail()}"

    def check(self) -> bool:
        """True while all is well; raises AssertionError when the daemon ended by itself."""
        assert not self.fault, f"{self.fault}: {self.tail()}"
        return True

    def tail(self) -> str:
        """The end of the daemon's log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:] if self.log.exists() else ""

    def _run(self) -> None:
        while not self._stopping:
            self.starts.append(time.time())
            try:
                self._process = self.launch(self.config, {"HOMEOSTAT_FAILPOINTS": self.failpoints()}, self.log)
                code = self._process.wait()
            except (AssertionError, OSError, ValueError) as error:
                self.fault = f"the daemon could not be started: {error}"
                return
            self._process = None
            if code == -signal.SIGKILL:
                self.kills += not self._stopping
            elif code != 0 or not self._stopping:
                self.fault = f"the daemon ended with {code}"
                return
            if self.kills > RESTARTS_MAX:
                self.fault = f"the daemon was killed {self.kills} times"
                return

    def _signal(self, number: signal.Signals) -> None:
        wait_until(lambda: self._process is not None or bool(self.fault), STOP_S, "a daemon to signal")
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _join(self) -> None:
        assert self._thread is not None
        self._thread.join(STOP_S)
        assert not self._thread.is_alive(), f"the daemon did not end within {STOP_S:.0f} s: {self.tail()}"
