"""The newest prompts, in chunks: a closed chunk never changes, so its stored blob is written once."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from monitors.confirm import Seen

_CHUNK = 128


@dataclass(frozen=True)
class _Closed:
    number: int
    seen: tuple[Seen, ...]
    blob: bytes


class Recent:
    """A bounded queue of prompts. Invariant: between ``size`` and ``size + 128`` prompts once it is full."""

    def __init__(self, size: int) -> None:
        self._slots = -(-size // _CHUNK) + 1
        self._closed: deque[_Closed] = deque(maxlen=self._slots - 1)
        self._open: list[Seen] = []
        self._number = 0

    def append(self, seen: Seen) -> None:
        """One prompt; the oldest chunk goes when there are too many."""
        self._open.append(seen)
        if len(self._open) == _CHUNK:
            self._closed.append(_Closed(self._number, tuple(self._open), self._blob()))
            self._number += 1
            self._open = []

    def newest(self, count: int) -> list[Seen]:
        """The newest ``count`` prompts, oldest first; fewer where fewer are held."""
        if count <= 0:
            return []
        found = self._open[-count:]
        for chunk in reversed(self._closed):
            lacking = count - len(found)
            if lacking <= 0:
                break
            found = [*chunk.seen[-lacking:], *found]
        return found

    def dump_parts(self) -> dict[str, bytes]:
        """Blobs by slot; a slot is written again when its turn comes round."""
        parts = {f"recent-{chunk.number % self._slots}": chunk.blob for chunk in self._closed}
        parts[f"recent-{self._number % self._slots}"] = self._blob()
        return parts

    @classmethod
    def load_parts(cls, size: int, parts: dict[str, bytes]) -> Recent:
        """Inverse of ``dump_parts``; slots of an older round are left out."""
        recent = cls(size)
        stored = [(json.loads(blob), blob) for name, blob in parts.items() if name.startswith("recent-")]
        stored.sort(key=lambda pair: pair[0]["number"])
        for chunk, blob in stored:
            seen = [Seen(*row) for row in chunk["seen"]]
            if len(seen) == _CHUNK:
                recent._closed.append(_Closed(chunk["number"], tuple(seen), blob))
                recent._number = chunk["number"] + 1
            else:
                recent._number, recent._open = chunk["number"], seen
        return recent

    def _blob(self) -> bytes:
        rows = [s.row() for s in self._open]
        return json.dumps({"number": self._number, "seen": rows}, separators=(",", ":")).encode()
