"""What every world of the demo offers, and the oracle's memory of what was asked.

Three kinds of text never mix:

* **base**: what the base model is trained on: pairs of the old desks, and unlabelled lines of all desks;
* **live**: what users ask while the daemon listens, is corrected and learns; no live text is among the base's pairs;
* **test**: what is asked to measure. Each test question of a grammar holds at least one frame, core or filler that
  occurs nowhere else; a corpus keeps its test file apart. Nothing that can be corrected is ever a test question.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, Protocol

from daemon.demo.places import Place, Question

Split = Literal["base", "live", "test"]


class WorldError(ValueError):
    """The world asked for cannot be built: the fault of the corpus folder, the grammar file or an option."""


class DeskWorld(Place, Protocol):
    """A support desk: old desks, which the base knows, and new ones, which it does not."""

    def base_pairs(self) -> list[tuple[str, str]]:
        """(prompt, reply) of the old desks: the base's training set. No part of the daemon ever sees it."""
        ...

    def base_lines(self) -> list[str]:
        """Messages without replies: by these the base knows the words of the new desks, not their answers."""
        ...

    def anchor_pairs(self, desks: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
        """At most `count` (prompt, reply) examples, dealt evenly over `desks`, for the operator's anchor file.

        They are neither in the base's pairs nor tests, and share no test-only piece with any test.
        """
        ...

    def oracle(self, text: str) -> str:
        """The right reply to a text that this world issued; `KeyError` for any other text."""
        ...

    def desk_of(self, text: str) -> str:
        """The desk of a text that this world issued; `KeyError` for any other text."""
        ...


class Issued:
    """The oracle's memory: each text ever issued, its question and its split. One text never has two answers.

    Grows with the distinct texts asked for; a world lives for one scenario (some 10^4 of them).
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Question, Split]] = {}

    def admit(self, question: Question, split: Split) -> bool:
        """Remember the question; False where the text is known with another answer or from another split."""
        known, known_split = self._known.setdefault(question.text, (question, split))
        return known.right == question.right and known_split == split

    def __getitem__(self, text: str) -> Question:
        return self._known[text][0]


def reply_text(desk: str, reply: str) -> str:
    """The form of every reply, "desk: what is done", readable and short: `banking: transfer`."""
    return f"{readable(desk)}: {readable(reply)}"


def readable(name: str) -> str:
    """A label as lower-case words: underscores, dashes and other marks become single spaces."""
    return " ".join("".join(c if c.isalnum() or c in "'+&%" else " " for c in name).split()).lower()


def dealt_evenly(pools: Sequence[Sequence[Question]], count: int, rng: random.Random) -> list[Question]:
    """At most `count` questions, one of each pool in turn while there are any, shuffled at the end."""
    dealt: list[Question] = []
    for depth in range(max((len(pool) for pool in pools), default=0)):
        dealt.extend(pool[depth] for pool in pools if depth < len(pool))
        if len(dealt) >= count:
            break
    del dealt[count:]
    rng.shuffle(dealt)
    return dealt
