"""The world of a run with the parts that set-up needs: files for the base, anchors, and which desks are silent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import orjson

from daemon.demo.places import Place, Question
from daemon.demo.world.questions import DeskWorld, WorldError

ANCHORS = 500
"""Examples in the operator's anchor file: the most that the product takes."""


class Scene(Place):
    """A world as one run uses it. Silent desks are old ones without traffic and without anchors until they return."""

    def __init__(self, world: DeskWorld, silent: Sequence[str], folder: Path, seed: int) -> None:
        """Writes the base's training files into ``folder``. Raises OSError."""
        self._world = world
        self.silent_desks: tuple[str, ...] = tuple(silent)
        self.present_desks: tuple[str, ...] = tuple(d for d in world.old_desks if d not in self.silent_desks)
        self._replies = {desk: list(world.replies(desk)) for desk in (*world.old_desks, *world.new_desks)}
        self.anchors: list[tuple[str, str]] = world.anchor_pairs(self.present_desks, ANCHORS, seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.pairs_file, self.lines_file = folder / "pairs.jsonl", folder / "lines.txt"
        pairs = (orjson.dumps({"prompt": p, "reply": r}) + b"\n" for p, r in world.base_pairs())
        self.pairs_file.write_bytes(b"".join(pairs))
        self.lines_file.write_text("".join(f"{' '.join(line.split())}\n" for line in world.base_lines()))

    @property
    def old_desks(self) -> Sequence[str]:
        """See ``Place``."""
        return self._world.old_desks

    @property
    def new_desks(self) -> Sequence[str]:
        """See ``Place``."""
        return self._world.new_desks

    def ask(self, desk: str, rng: random.Random) -> Question:
        """See ``Place``."""
        return self._world.ask(desk, rng)

    def tests(self, desk: str, count: int, seed: int) -> Sequence[Question]:
        """See ``Place``."""
        return self._world.tests(desk, count, seed)

    def replies(self, desk: str) -> Sequence[str]:
        """See ``Place``; kept, because every feedback asks for it."""
        return self._replies[desk]


def silent_of(world: DeskWorld, count: int) -> list[str]:
    """The last ``count`` old desks. Raises WorldError when fewer than two would be left with traffic."""
    if len(world.old_desks) < count + 2:
        raise WorldError(f"expected at least {count + 2} old desks, got {len(world.old_desks)}: use a larger corpus")
    return list(world.old_desks[len(world.old_desks) - count :]) if count else []
