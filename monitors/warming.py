"""Collecting the reference: enough prompts, over a long enough time, thinned by whole sessions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from monitors.confirm import Seen


class Warming:
    """Prompts that will be the reference. Invariant: at most ``size`` are held.

    While the time is not long enough and there is no room, the sessions with the largest hashes go, now and for good:
    what is left is a fair sample of all sessions, the same in every replay (a bottom-k sample: Cohen and Kaplan,
    "Tighter estimation using bottom k sketches", VLDB 2008).
    """

    def __init__(self, size: int, span_s: float, seen: Iterable[Seen] = ()) -> None:
        self._size, self._span = size, span_s
        self._cut = 1 << 32
        self.held: list[Seen] = []
        self.total = 0
        self._first, self._last = math.inf, -math.inf
        for one in seen:
            self.append(one)

    def append(self, seen: Seen) -> None:
        """One prompt of quiet traffic."""
        self.total += 1
        if seen.at is not None:
            self._first, self._last = min(self._first, seen.at), max(self._last, seen.at)
        if _hash(seen.session) < self._cut:
            self.held.append(seen)
        while len(self.held) > self._size:
            self._cut = max(_hash(one.session) for one in self.held)
            left = [one for one in self.held if _hash(one.session) < self._cut]
            self.held = left or self.held[: self._size]

    @property
    def full(self) -> bool:
        """Whether there is enough of both."""
        return self.total >= self._size and self.span_s >= self._span

    @property
    def span_s(self) -> float:
        """Seconds from the first prompt to the last."""
        return max(self._last - self._first, 0.0)

    @property
    def events_an_hour(self) -> float:
        """Of the whole traffic; infinite when all came at once."""
        return self.total / self.span_s * 3600.0 if self.span_s > 0.0 else math.inf

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "cut": self._cut,
            "total": self.total,
            "times": [self._first, self._last] if self._first <= self._last else None,
            "held": [one.row() for one in self.held],
        }

    @classmethod
    def load(cls, size: int, span_s: float, stored: dict[str, Any]) -> Warming:
        """Inverse of ``dump``."""
        warming = cls(size, span_s)
        warming._cut, warming.total = int(stored["cut"]), int(stored["total"])
        if stored["times"] is not None:
            warming._first, warming._last = stored["times"]
        warming.held = [Seen(*row) for row in stored["held"]]
        return warming


def _hash(session: str) -> int:
    return crc32(f"reference {session}".encode())
