"""Hand-written twins of the loop, for tests of the shell around it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from daemon.api.ports import By, Json, Readiness
from daemon.faults import Refused
from streams.errors import LogUnavailable


class FakeController:
    """Remembers what it was asked; refuses what ``refuse`` names."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, By, Any]] = []
        self.refuse: dict[str, Refused] = {}
        self.ready = Readiness(True, "ok")
        self.jobs: list[Json] = []
        self.reports: list[tuple[str, Json]] = []
        self.ticks = 0
        self.ticking = threading.Lock()
        self.started = self.closed = False

    def _command(self, verb: str, by: By, args: Any = None) -> Json:
        if verb in self.refuse:
            raise self.refuse[verb]
        self.calls.append((verb, by, args))
        return {"ok": True}

    def status(self) -> Json:
        return {"deployment": "support", "mode": "auto", "champion": "support-aaaaaaaaaaaa", "ticks": self.ticks}

    def readiness(self) -> Readiness:
        return self.ready

    def rollback(self, by: By, to: str | None, suspend_data: bool) -> Json:
        self._command("rollback", by, (to, suspend_data))
        return {
            "acked_at": 1.0,
            "ms": 4.25,
            "from": "support-b",
            "to": "support-a",
            "epoch": 7,
            "gateways": {"r0": True},
        }

    def promote(self, by: By) -> Json:
        return self._command("promote", by)

    def approve(self, by: By, version: str | None = None, examples: bool = False) -> Json:
        return self._command("approve", by, (version, examples))

    def abort(self, by: By) -> Json:
        return self._command("abort", by)

    def pause(self, by: By) -> Json:
        return self._command("pause", by)

    def resume(self, by: By) -> Json:
        return self._command("resume", by)

    def adapt(self, by: By, overrides: Mapping[str, Any]) -> Json:
        return self._command("adapt", by, dict(overrides))

    def trainer_claim(self, worker: str) -> Json | None:
        return self.jobs.pop(0) if self.jobs else None

    def trainer_report(self, job_id: str, report: Json) -> bool:
        self.reports.append((job_id, report))
        return job_id == "wanted"

    def start(self) -> None:
        self.started = True

    def tick(self) -> None:
        with self.ticking:
            self.ticks += 1

    def scheduled_adapt(self) -> None:
        self._command("scheduled_adapt", By("schedule", ""))

    def close(self) -> None:
        self.closed = True


class FakeIngest:
    """Counts steps; ``away`` is a log that cannot be reached."""

    def __init__(self) -> None:
        self.steps = self.refused = 0
        self.away = False
        self.broken = False
        self.closed = False
        self.stepped = threading.Event()

    def start(self) -> None:
        if self.away:
            raise LogUnavailable("127.0.0.1:9", "no broker answers", "Start it, or correct log.bootstrap")

    def step(self, timeout_s: float) -> int:
        self.stepped.wait(min(timeout_s, 0.01))
        if self.away:
            self.refused += 1
            raise LogUnavailable("127.0.0.1:9", "no broker answers", "Start it, or correct log.bootstrap")
        if self.broken:
            raise RuntimeError("a bug")
        self.steps += 1
        return 0

    def close(self) -> None:
        self.closed = True
