"""The log port: where events come from and go to. SQLite (embedded) and Kafka; one conformance suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """One event as it lies on the log. A tuple: one is made for every event, in a third of a dataclass's time."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: bytes
    timestamp: float
    """Broker or append time, wall-clock seconds."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that retention took away before they were read: a recorded loss, never a silent one."""

    topic: str
    partition: int
    expected: int
    found: int


Position = tuple[str, int]
"""(topic, partition)."""


class Source(Protocol):
    """Reads events from explicit positions. Offsets belong to the caller's store, not to the log."""

    def start(self, next_offsets: Mapping[Position, int]) -> Sequence[Gap]:
        """Seek to the caller's next offsets (absent position: the beginning). Raises LogUnavailable."""
        ...

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to ``max_records`` records, in offset order per position; empty after ``timeout_s``. Raises
        LogUnavailable."""
        ...

    def take_gaps(self) -> Sequence[Gap]:
        """Losses found since the last call, also while running: retention that overtook the reader, a replaced log."""
        ...

    def acknowledge(self, next_offsets: Mapping[Position, int]) -> None:
        """Tell the log how far the caller is; for lag dashboards only, errors are swallowed and counted."""
        ...

    def lag(self) -> Mapping[Position, int]:
        """Records between the position and the end of each partition."""
        ...

    def close(self) -> None:
        """Release connections; idempotent."""
        ...


class Sink(Protocol):
    """Appends events. ``append`` never blocks the caller: a full queue drops and counts."""

    def append(self, topic: str, key: str | None, value: bytes) -> bool:
        """Queue one event; False when it was dropped because the bounded queue was full."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is durable; False when time ran out."""
        ...

    @property
    def dropped(self) -> int:
        """Events dropped since the start."""
        ...

    def close(self) -> None:
        """Flush and release; idempotent."""
        ...
