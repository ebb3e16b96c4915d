"""What the users need of a world: questions by desk, and an oracle that says which reply is right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """One thing a user may ask."""

    text: str
    desk: str
    right: str
    """The reply that the oracle accepts, by exact match after trimming."""

    def answered_by(self, reply: str) -> bool:
        """Whether a reply is the right one: exact match, surrounding white space aside."""
        return reply.strip() == self.right.strip()


class Place(Protocol):
    """A support desk with its visitors' questions. Live questions and test questions never share a text."""

    @property
    def old_desks(self) -> Sequence[str]:
        """Desks that the base was trained on."""
        ...

    @property
    def new_desks(self) -> Sequence[str]:
        """Desks that appear later, in order of appearance."""
        ...

    def ask(self, desk: str, rng: random.Random) -> Question:
        """A question as live traffic brings it."""
        ...

    def tests(self, desk: str, count: int, seed: int) -> Sequence[Question]:
        """At most ``count`` distinct held-out questions, always the same for the same seed."""
        ...

    def replies(self, desk: str) -> Sequence[str]:
        """All replies of a desk: what a user who is wrong picks from."""
        ...
