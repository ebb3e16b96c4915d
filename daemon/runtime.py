"""What the process gives its parts, and what it asks of them: the seam between the shell and the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from daemon.api.ports import Controller
from daemon.config import Config
from daemon.secrets import Tokens
from daemon.store import Store
from daemon.troubles import Troubles


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a part may use. ``wake`` makes the next tick come at once and may be called from any thread."""

    config: Config
    store: Store
    tokens: Tokens
    clock: Callable[[], float]
    """Wall-clock seconds."""
    monotonic: Callable[[], float]
    wake: Callable[[], None]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Where metrics are registered; one of its own for each daemon, so that a process may hold several in turn."""
    troubles: Troubles = field(default_factory=Troubles)
    """What is wrong now and needs a person."""

    def secret(self, name: str) -> Path:
        """Path of a key file, such as ``feedback.key``."""
        return self.config.secrets / name


class Ingesting(Protocol):
    """Events in. All three run in the ingest's thread but ``start``, which runs before it."""

    def start(self) -> None:
        """Restore state and seek. Raises LogUnavailable."""
        ...

    def step(self, timeout_s: float) -> int:
        """One batch in one transaction; how many records. After LogUnavailable it is called again later."""
        ...

    def close(self) -> None:
        """Release the log; idempotent."""
        ...


class Ticking(Controller, Protocol):
    """The controller as the process drives it."""

    def start(self) -> None:
        """Adopt what agents have, finish pending intents. Runs before the first tick and before the API serves."""
        ...

    def tick(self) -> None:
        """Move at most one step; one at a time, again ``learning.tick_s`` later or when woken."""
        ...

    def scheduled_adapt(self) -> None:
        """The hour of ``learning.schedule`` has come."""
        ...

    def close(self) -> None:
        """Release connections; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The loop, assembled."""

    ingest: Ingesting
    controller: Ticking


Assemble = Callable[[Runtime], Parts]
