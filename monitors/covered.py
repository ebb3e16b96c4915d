"""How much time values cover, by their timestamps. No I/O, no clock."""

from __future__ import annotations

import math

__all__ = ["BACK_S", "GAP_S", "Covered"]

GAP_S = 7200.0
"""Seconds that one step between two values covers at most. A pause of up to two hours may be quiet traffic, of which no
value tells more; a longer one was not seen, and a lone value a day before the traffic, or one wrong clock, is not a day
of it. Nights and weekends without traffic then simply take longer."""

BACK_S = 604_800.0
"""Seconds by which a time may lie before the latest and be merely late: no feedback is older. What lies farther back
tells of a clock that was ahead, and nothing would be covered until it had come round."""


class Covered:
    """The time that values cover: the sum of the steps from each to the next, each of ``GAP_S`` at most.

    A value earlier than the latest adds nothing, and so does one without a finite time (None, NaN or infinite). One
    that is earlier by more than ``BACK_S`` is where it goes on from.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = -math.inf
        self._sum_s = 0.0

    def append(self, at: float | None) -> None:
        """One value, in Unix seconds."""
        if at is None or not math.isfinite(at):
            return
        if self._first is None:
            self._first = self._last = at
        elif at > self._last:
            self._sum_s += min(at - self._last, GAP_S)
            self._last = at
        elif at < self._last - BACK_S:
            self._last = at

    @property
    def span_s(self) -> float:
        """Seconds covered; 0 before the second value."""
        return self._sum_s

    def dump(self) -> list[float] | None:
        """JSON-able state: the first and the latest time in Unix seconds, and the seconds covered; None before any."""
        return None if self._first is None else [self._first, self._last, self._sum_s]

    @classmethod
    def load(cls, stored: list[float] | None) -> Covered:
        """Inverse of ``dump``. A list of two, the first and the latest time, was held to cover all between them."""
        covered = cls()
        if stored is not None:
            covered._first, covered._last = stored[0], stored[1]
            covered._sum_s = stored[2] if len(stored) > 2 else stored[1] - stored[0]
        return covered
