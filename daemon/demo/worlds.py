"""The world of a run: the project's grammar or a folder of real text, seen as the place that users visit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from daemon.demo.places import Place


class WorldError(Exception):
    """The user's: a corpus folder or a group that cannot be used; the message says what was expected."""


class World(Place, Protocol):
    """A place with what set-up needs of it."""

    @property
    def present_desks(self) -> Sequence[str]:
        """Old desks that have traffic from the start: all but the silent ones."""
        ...

    @property
    def silent_desks(self) -> Sequence[str]:
        """Old desks without traffic until the drill brings them back; they have no anchors either."""
        ...

    @property
    def anchors(self) -> Sequence[tuple[str, str]]:
        """The operator's (prompt, reply) examples, at most 500; they share no template with any test."""
        ...

    @property
    def pairs_file(self) -> Path:
        """Training pairs of the base, one JSON object a line."""
        ...

    @property
    def lines_file(self) -> Path:
        """Unlabelled lines in the style of all desks, one a line."""
        ...
