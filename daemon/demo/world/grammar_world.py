"""The project's own world: questions spoken from the grammar, as many as anybody asks for."""

from __future__ import annotations

import random
from collections.abc import Sequence

from daemon.demo.places import Question
from daemon.demo.world.grammar import Grammar
from daemon.demo.world.questions import Issued, Split, WorldError, dealt_evenly, reply_text
from daemon.demo.world.speech import Speaker

PAIRS_PER_INTENT = 160  # base training pairs; with some 70 intents about a minute of training on two cores
LINES_PER_DESK = 400  # unlabelled lines of an old desk, whose words are in the pairs anyway
NEW_LINES_PER_DESK = 2400  # unlabelled lines of a new desk: all that the base ever sees of it
TRIES = 50  # draws for a question that says nothing already said otherwise, before the grammar is called too small


class GrammarWorld:
    """A `DeskWorld` over a grammar: as many different questions as anybody asks for."""

    def __init__(self, grammar: Grammar, new_desks: Sequence[str], seed: int) -> None:
        unknown = [desk for desk in new_desks if desk not in grammar.desks]
        if unknown or len(new_desks) >= len(grammar.desks):
            raise WorldError(
                f"expected new desks among {', '.join(grammar.desks)}, leaving an old one; got {new_desks}"
            )
        self._grammar, self._seed = grammar, seed
        self._speaker = Speaker(grammar, seed)
        self._issued = Issued()
        self.new_desks: tuple[str, ...] = tuple(new_desks)
        self.old_desks: tuple[str, ...] = tuple(d for d in grammar.desks if d not in new_desks)
        self._pairs: list[tuple[str, str]] | None = None

    def base_pairs(self) -> list[tuple[str, str]]:
        """See `DeskWorld`; always the same list for the same grammar, new desks and seed."""
        if self._pairs is None:
            rng = random.Random(f"{self._seed}/pairs")
            questions = [
                self._ask(desk, intent, rng, "base")
                for desk in self.old_desks
                for intent in self._grammar.desks[desk]
                for _ in range(PAIRS_PER_INTENT)
            ]
            rng.shuffle(questions)
            self._pairs = [(q.text, q.right) for q in questions]
        return list(self._pairs)

    def base_lines(self) -> list[str]:
        """See `DeskWorld`: mostly of the new desks, spoken without any test-only piece."""
        rng = random.Random(f"{self._seed}/lines")
        lines: list[str] = []
        for desk in (*self.old_desks, *self.new_desks):
            count = NEW_LINES_PER_DESK if desk in self.new_desks else LINES_PER_DESK
            lines += [self._speaker.say(desk, self._intent(desk, rng), rng, "base") for _ in range(count)]
        rng.shuffle(lines)
        return lines

    def anchor_pairs(self, desks: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
        """See `DeskWorld`; desks and intents in equal parts."""
        rng = random.Random(f"{self._seed}/anchors/{seed}")
        each = -(-count // max(1, len(desks)))
        pools = [self._distinct(rng, desk, each, "live") for desk in desks]
        return [(q.text, q.right) for q in dealt_evenly(pools, count, rng)]

    def ask(self, desk: str, rng: random.Random) -> Question:
        """A live question: no test-only piece in it, and not a text of the base's pairs."""
        self.base_pairs()  # admitted first, so that a live question never repeats one
        return self._ask(desk, self._intent(desk, rng), rng, "live")

    def tests(self, desk: str, count: int, seed: int) -> list[Question]:
        """At most `count` distinct test questions, always the same for the same seed, intents in turn."""
        self.base_pairs()
        return self._distinct(random.Random(f"{self._seed}/tests/{desk}/{seed}"), desk, count, "test")

    def replies(self, desk: str) -> list[str]:
        """Every right reply of the desk, in the grammar's order."""
        return [reply_text(desk, rules.reply) for rules in self._grammar.desks[desk].values()]

    def oracle(self, text: str) -> str:
        """See `DeskWorld`."""
        return self._issued[text].right

    def desk_of(self, text: str) -> str:
        """See `DeskWorld`."""
        return self._issued[text].desk

    def shapes(self, desk: str, intent: str) -> int:
        """Sentence shapes of an intent: frames times the cores that fit into them."""
        return self._speaker.shapes(desk, intent)

    def _intent(self, desk: str, rng: random.Random) -> str:
        return rng.choice(list(self._grammar.desks[desk]))

    def _distinct(self, rng: random.Random, desk: str, count: int, split: Split) -> list[Question]:
        intents = list(self._grammar.desks[desk])
        found: dict[str, Question] = {}
        for i in range(4 * count):
            question = self._ask(desk, intents[i % len(intents)], rng, split)
            found.setdefault(question.text, question)
            if len(found) == count:
                break
        return list(found.values())

    def _ask(self, desk: str, intent: str, rng: random.Random, split: Split) -> Question:
        for _ in range(TRIES):
            right = reply_text(desk, self._grammar.desks[desk][intent].reply)
            question = Question(self._speaker.say(desk, intent, rng, split), desk, right)
            if self._issued.admit(question, split):
                return question
        raise WorldError(f"grammar: {desk}.{intent} has too few {split} sentences; give it more cores")
