"""Sentences spoken from the grammar: a frame around a core, its slots filled, sometimes reworded or mistyped."""

from __future__ import annotations

import random
from collections.abc import Sequence

from daemon.demo.world.grammar import SLOT, Grammar, Kind, Piece, put_aside
from daemon.demo.world.questions import Split
from daemon.demo.world.wording import choose, digits, mistype, paraphrase


class Speaker:
    """Says what an intent may say. The seed decides which pieces are put aside for tests, and nothing else does."""

    def __init__(self, grammar: Grammar, seed: int) -> None:
        self._grammar, self._pieces = grammar, put_aside(grammar, seed)
        every = self._pieces.fillers
        known = {slot: [v for v in values if not v.tests_only] for slot, values in every.items()}
        self._fillers: dict[bool, dict[str, list[Piece]]] = {False: known, True: every}

    def shapes(self, desk: str, intent: str) -> int:
        """Sentence shapes of an intent: pairs of a frame and a core that fit, fillers and alternatives not counted."""
        return sum(len(self._pieces.frames[kind]) for kind, _ in self._pieces.cores[desk, intent])

    def say(self, desk: str, intent: str, rng: random.Random, split: Split) -> str:
        """A sentence of the intent. Base and live sentences hold no test-only piece, a test sentence at least one.

        A test draws core, fillers and frame from the whole lists, so that three of ten have a core never heard before;
        where all of them happen to be known ones, the frame is one for tests only.
        """
        held_out = split == "test"
        kind, core = rng.choice(self._usable(self._pieces.cores[desk, intent], held_out))
        frames = self._pieces.frames[kind]
        frame = rng.choice([f for f in frames if held_out or not f.tests_only])
        fillers = {slot: rng.choice(values) for slot, values in self._fillers[held_out].items()}
        used = [core, frame, *(fillers[slot] for slot in SLOT.findall(core.text + frame.text) if slot in fillers)]
        if held_out and not any(piece.tests_only for piece in used):
            frame = rng.choice([f for f in frames if f.tests_only])
        text = choose(frame.text.replace("{" + kind + "}", core.text), rng)
        text = digits(SLOT.sub(lambda m: fillers[m[1]].text, text), rng)
        if rng.random() < self._grammar.noise.paraphrase:
            text = paraphrase(text, self._grammar.paraphrases, rng)
        return mistype(text, rng) if rng.random() < self._grammar.noise.typo else text

    @staticmethod
    def _usable(cores: Sequence[tuple[Kind, Piece]], held_out: bool) -> list[tuple[Kind, Piece]]:
        return [(kind, core) for kind, core in cores if held_out or not core.tests_only]
