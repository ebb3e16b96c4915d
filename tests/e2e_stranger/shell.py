"""A person at a shell: real ``homeostat`` processes, their output and exit codes, and a daemon that runs beside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import yaml

from tests.conftest import ROOT, VENVS
from tests.waiting import wait_until

HOMEOSTAT = VENVS / "daemon" / "bin" / "homeostat"
START_S = 240.0
"""A start takes two seconds where nobody else wants the processor; a deadline only ends a test that hangs."""
COMMAND_S = 240.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came back."""

    code: int
    out: str
    err: str


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a user who has set nothing of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")}
    return {**kept, "OMP_NUM_THREADS": "1", **(more or {})}


def run(argv: Sequence[str | Path], *, user: int | None = None, cwd: Path = ROOT) -> Result:
    """One command to its end; ``user`` gives up root's rights for those of a user id."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=COMMAND_S, env=environment(), cwd=cwd, user=user
    )
    return Result(done.returncode, done.stdout, done.stderr)


def homeostat(*argv: str | Path, user: int | None = None) -> Result:
    """One call of ``homeostat`` to its end."""
    return run([HOMEOSTAT, *argv], user=user)


@dataclass(slots=True)
class Daemon:
    """A running ``homeostat run``."""

    home: Path
    process: subprocess.Popen[bytes]
    output: Path

    def status(self) -> dict[str, Any]:
        """``homeostat status --json``."""
        found = homeostat("status", "--home", self.home, "--json")
        assert found.code == 0, found.err
        return cast("dict[str, Any]", json.loads(found.out))

    def look(self) -> dict[str, Any]:
        """The same document by HTTP, for loops: a process each time is slow."""
        config: Any = yaml.safe_load((self.home / "homeostat.yaml").read_text(encoding="utf-8"))
        api: Any = config.get("api")
        port = api.get("port", 8377) if api else 8377
        token = (self.home / "secrets" / "operator.token").read_text(encoding="utf-8").strip()
        found = httpx.get(
            f"http://127.0.0.1:{port}/api/v1/status",
            headers={"authorization": f"Bearer {token}"},
            timeout=10.0,
            trust_env=False,
        )
        assert found.status_code == 200, found.text
        return cast("dict[str, Any]", found.json())

    def counts(self) -> dict[str, int]:
        """What was counted so far."""
        return cast("dict[str, int]", self.look()["counts"])

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        text = self.output.read_text(encoding="utf-8", errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def daemon(home: Path) -> Generator[Daemon]:
    """``homeostat run``, up and answering; killed at the end if nobody stopped it."""
    output = home / "run.log"
    with output.open("ab") as out:
        process = subprocess.Popen(
            [str(HOMEOSTAT), "run", "--home", str(home)], stdout=out, stderr=out, cwd=ROOT, env=environment()
        )
    one = Daemon(home, process, output)

    def answers() -> bool:
        assert process.poll() is None, f"homeostat run ended with {process.returncode}: {output.read_text()[-3000:]}"
        try:
            return bool(one.look())
        except (httpx.HTTPError, OSError):
            return False

    try:
        wait_until(answers, START_S, "homeostat run to answer")
        yield one
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10.0)
