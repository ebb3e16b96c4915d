"""Real text as a world: a fixed stock of questions by desk, drawn again and again in live traffic."""

from __future__ import annotations

import random
from collections.abc import Sequence

from daemon.demo.places import Question
from daemon.demo.world.corpus_desks import Cards
from daemon.demo.world.questions import Issued, dealt_evenly

MAX_PAIRS = 14_000  # base training pairs; more would not be seen twice within two minutes of training
MAX_NEW_LINES = 3_000  # unlabelled lines of a new desk
OLD_LINES_PER_DESK = 200  # of an old desk, whose words are in the pairs anyway
ANCHOR_SHARE = 0.2  # of an old desk's live stock: the operator's own examples, which users do not ask


class CorpusWorld:
    """A `DeskWorld` over a dealt corpus.

    Unlike a grammar, a corpus is finite: the base's unlabelled lines of a new desk are the texts that users will ask
    later (without their labels, and never a test question).
    """

    def __init__(self, cards: Cards, seed: int) -> None:
        self._cards, self._seed = cards, seed
        self.new_desks: tuple[str, ...] = cards.new_desks
        self.old_desks: tuple[str, ...] = tuple(desk for desk in cards.live if desk not in cards.new_desks)
        self._issued = Issued()
        self._replies = {
            desk: sorted({r for _, r in (*cards.base[desk], *cards.live[desk], *cards.test[desk])})
            for desk in cards.live
        }
        self._anchors: dict[str, list[Question]] = {}
        self._live: dict[str, list[Question]] = {}
        for desk, pairs in cards.live.items():
            stock = [self._admitted(desk, pair, live=True) for pair in pairs]
            held = round(ANCHOR_SHARE * len(stock)) if desk in self.old_desks else 0
            self._anchors[desk], self._live[desk] = stock[:held], stock[held:]
        self._tests = {
            desk: [self._admitted(desk, pair, live=False) for pair in pairs] for desk, pairs in cards.test.items()
        }

    def base_pairs(self) -> list[tuple[str, str]]:
        """See `DeskWorld`; desks in proportion, at most `MAX_PAIRS`."""
        pairs = [pair for desk in self.old_desks for pair in self._cards.base[desk]]
        random.Random(f"{self._seed}/pairs").shuffle(pairs)
        return pairs[:MAX_PAIRS]

    def base_lines(self) -> list[str]:
        """See `DeskWorld`; mostly of the new desks."""
        rng = random.Random(f"{self._seed}/lines")
        lines: list[str] = []
        for desk in self.new_desks:
            lines += [q.text for q in self._live[desk]][:MAX_NEW_LINES]
        for desk in self.old_desks:
            texts = [text for text, _ in self._cards.base[desk]]
            lines += rng.sample(texts, min(OLD_LINES_PER_DESK, len(texts)))
        rng.shuffle(lines)
        return lines

    def anchor_pairs(self, desks: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
        """See `DeskWorld`."""
        rng = random.Random(f"{self._seed}/anchors/{seed}")
        dealt = dealt_evenly([self._anchors[desk] for desk in desks], count, rng)
        return [(q.text, q.right) for q in dealt]

    def ask(self, desk: str, rng: random.Random) -> Question:
        """One of the desk's live questions."""
        return rng.choice(self._live[desk])

    def tests(self, desk: str, count: int, seed: int) -> list[Question]:
        """At most `count` distinct test questions, always the same for the same seed."""
        stock = list(self._tests[desk])
        random.Random(f"{self._seed}/tests/{desk}/{seed}").shuffle(stock)
        return stock[:count]

    def replies(self, desk: str) -> list[str]:
        """Every right reply of the desk."""
        return list(self._replies[desk])

    def oracle(self, text: str) -> str:
        """See `DeskWorld`."""
        return self._issued[text].right

    def desk_of(self, text: str) -> str:
        """See `DeskWorld`."""
        return self._issued[text].desk

    def _admitted(self, desk: str, pair: tuple[str, str], live: bool) -> Question:
        question = Question(pair[0], desk, pair[1])
        if not self._issued.admit(question, "live" if live else "test"):
            raise AssertionError(f"a cleaned corpus has one answer per text, not two: {pair[0]!r}")
        return question
