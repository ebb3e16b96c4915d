"""How far event time has surely come: the slowest partition decides, silent ones are left out.

Each partition's own mark is the greatest event time seen on it less the lateness. A partition counts as silent when
nothing came for ``idle_s`` of wall time *and* nothing on it is left to read: one that lags behind others holds
everybody back, because its events are still coming. When all are silent, wall time itself moves the mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.log import Position


@dataclass(slots=True)
class _Partition:
    mark: float
    heard_at: float
    behind: bool = False


@dataclass(slots=True)
class Watermark:
    """The mark only rises. All times are seconds; ``now`` is wall time given by the caller."""

    lateness_s: float
    idle_s: float
    value: float = float("-inf")
    _partitions: dict[Position, _Partition] = field(default_factory=dict[Position, _Partition])

    def saw(self, position: Position, event_time: float, now: float) -> None:
        """An event came. Times ahead of the wall clock count as now: a fast clock must not close others' windows."""
        mark = min(event_time, now) - self.lateness_s
        known = self._partitions.get(position)
        if known is None:
            self._partitions[position] = _Partition(mark, now)
        else:
            known.heard_at = now
            if mark > known.mark:
                known.mark = mark

    def expect(self, lag: Mapping[Position, int], now: float) -> None:
        """What the source says is left to read. New partitions hold the mark back until they speak or idle."""
        for position, count in lag.items():
            known = self._partitions.setdefault(position, _Partition(float("-inf"), now))
            known.behind = count > 0

    def advance(self, now: float) -> float:
        """Recompute and return the mark."""
        if not self._partitions:
            return self.value
        active = [p.mark for p in self._partitions.values() if p.behind or now - p.heard_at < self.idle_s]
        self.value = max(self.value, min(active) if active else now - self.idle_s - self.lateness_s)
        return self.value
