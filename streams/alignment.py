"""Which partitions were read too far ahead of the others: pure.

Kafka's client hands over one partition's backlog after another's, so without this the feedback of a whole day can come
before its traffic, and the joiner would have to hold it all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from streams.log import Position

STALLED_S: Final = 5.0
"""A partition that delivers nothing for this long holds nobody back, whatever its lag says."""


@dataclass(slots=True)
class Alignment:
    """Log time per partition; those more than ``align_s`` ahead of the slowest that still has records should wait."""

    align_s: float
    _newest: dict[Position, float] = field(default_factory=dict[Position, float])
    _read_at: dict[Position, float] = field(default_factory=dict[Position, float])

    def read(self, position: Position, newest: float, now: float) -> None:
        """A batch came whose last record has log time ``newest`` (seconds); ``now`` is monotonic."""
        self._newest[position] = newest
        self._read_at[position] = now

    def ahead(self, behind: Collection[Position], now: float) -> frozenset[Position]:
        """The positions that should pause, given those that have records left to read."""
        slow = [self._newest[p] for p in behind if p in self._newest and now - self._read_at[p] < STALLED_S]
        if not slow:
            return frozenset()
        limit = min(slow) + self.align_s
        return frozenset(place for place, newest in self._newest.items() if newest > limit)
