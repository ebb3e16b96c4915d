"""What is in flight, by version: what a drain waits for and what a roll-back is checked against.

Touched on the event loop only, hence without a lock. Bounded: versions without requests are forgotten, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_VERSIONS = 64


@dataclass(slots=True)
class VersionTraffic:
    """Requests of one version at this gateway."""

    in_flight: int = 0
    dispatched: int = 0
    last_dispatch: float = 0.0
    """Wall-clock seconds."""


class Traffic:
    """The versions that this gateway dispatched to."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._versions: dict[str, VersionTraffic] = {}

    def dispatch(self, version: str) -> float:
        """Note that a request is handed to the server under ``version`` now; returns the wall-clock second."""
        entry = self._versions.get(version)
        if entry is None:
            self._forget_idle()
            entry = self._versions[version] = VersionTraffic()
        entry.in_flight += 1
        entry.dispatched += 1
        entry.last_dispatch = self._wall()
        return entry.last_dispatch

    def done(self, version: str) -> None:
        """Note that the request ended."""
        entry = self._versions.get(version)
        if entry is not None:
            entry.in_flight -= 1

    def snapshot(self) -> dict[str, dict[str, float]]:
        """In flight, dispatched since the start and last dispatch, by version."""
        return {
            name: {"in_flight": e.in_flight, "dispatched": e.dispatched, "last_dispatch": e.last_dispatch}
            for name, e in self._versions.items()
        }

    def _forget_idle(self) -> None:
        if len(self._versions) < MAX_VERSIONS:
            return
        idle = [name for name, entry in self._versions.items() if entry.in_flight == 0]
        for name in sorted(idle, key=lambda n: self._versions[n].last_dispatch)[: len(idle) // 2 + 1]:
            del self._versions[name]
