"""Collecting the reference: enough prompts, over a long enough time, thinned by whole sessions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from monitors.confirm import Seen
from monitors.covered import Covered

_LARGE = 1.0 / 16.0
"""Share of ``size`` above which a session is thinned by its own prompts. Whole ones grow with the time: of ten clients
that send one session key each, one would be left in the end, and the others be strange for ever."""
_LEAST = 0.5
"""Share of ``size`` that must be held: fewer prompts than that blind the detectors."""


class Warming:
    """Prompts that will be the reference. Invariant: at most ``size`` are held.

    While the time is not long enough and there is no room, the sessions with the largest hashes go, now and for good:
    what is left is a fair sample of all sessions, the same in every replay (a bottom-k sample: Cohen and Kaplan,
    "Tighter estimation using bottom k sketches", VLDB 2008). Of a large session each prompt has a hash of its own, so
    that it stays with its share of the traffic and neither goes as a whole nor drives the others out.
    """

    def __init__(self, size: int, span_s: float, seen: Iterable[Seen] = ()) -> None:
        self._size, self._span = size, span_s
        self._cut = 1 << 32
        self.held: list[Seen] = []
        self._hashes: list[int] = []
        """Of each that is held; all are below the cut."""
        self._large: dict[str, int] = {}
        """Prompts that came of each large session. They grow with the logarithm of the traffic, to some hundred."""
        self.total = 0
        self._covered = Covered()
        for one in seen:
            self.append(one)

    def append(self, seen: Seen) -> None:
        """One prompt of quiet traffic."""
        self.total += 1
        self._covered.append(seen.at)
        hashed = self._hash(seen)
        if hashed < self._cut:
            self.held.append(seen)
            self._hashes.append(hashed)
        while len(self.held) > self._size:
            self._part_large()
            if len(self.held) > self._size:
                self._cut = max(self._hashes)
                self._thin()

    @property
    def full(self) -> bool:
        """Whether there is enough: of traffic, of what is held of it, and of time."""
        enough = self.total >= self._size and len(self.held) >= _LEAST * self._size
        return enough and self.span_s >= self._span

    @property
    def span_s(self) -> float:
        """Seconds that the prompts cover, pauses counted for two hours at most."""
        return self._covered.span_s

    @property
    def events_an_hour(self) -> float:
        """Of the whole traffic, per covered hour; infinite when all came at once."""
        return self.total / self.span_s * 3600.0 if self.span_s > 0.0 else math.inf

    def _hash(self, seen: Seen) -> int:
        """Of its session, or of the prompt where its session is large."""
        if seen.session not in self._large:
            return crc32(f"reference {seen.session}".encode())
        # The count tells prompts of one text apart: a probe that always asks the same must not come or go as one.
        self._large[seen.session] += 1
        return crc32(f"reference {seen.session} {self._large[seen.session]} {seen.text}".encode())

    def _part_large(self) -> None:
        """From now on the prompts of sessions that have grown large go one by one, and as many as of all others."""
        counts = Counter(one.session for one in self.held if one.session not in self._large)
        grown = {session: 0 for session, count in counts.items() if count > _LARGE * self._size}
        if not grown:
            return
        self._large |= grown
        old = zip(self.held, self._hashes, strict=True)
        self._hashes = [self._hash(one) if one.session in grown else hashed for one, hashed in old]
        self._thin()

    def _thin(self) -> None:
        kept = [i for i, hashed in enumerate(self._hashes) if hashed < self._cut]
        self.held, self._hashes = [self.held[i] for i in kept], [self._hashes[i] for i in kept]

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "cut": self._cut,
            "total": self.total,
            "times": self._covered.dump(),
            "held": [one.row() for one in self.held],
            "hashes": self._hashes,
            "large": self._large,
        }

    @classmethod
    def load(cls, size: int, span_s: float, stored: dict[str, Any]) -> Warming:
        """Inverse of ``dump``.

        States of before have no hashes: where a large session was dropped as a whole it is collected anew.
        """
        warming = cls(size, span_s)
        held = [Seen(*row) for row in stored["held"]]
        if "hashes" not in stored and int(stored["total"]) >= size and len(held) < _LEAST * size:
            return warming
        warming._cut, warming.total = int(stored["cut"]), int(stored["total"])
        warming._covered = Covered.load(stored["times"])
        warming.held, warming._large = held, dict(stored.get("large", {}))
        warming._hashes = list(stored["hashes"]) if "hashes" in stored else [warming._hash(one) for one in held]
        return warming
