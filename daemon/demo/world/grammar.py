"""The grammar file: read, checked, and split into what anybody may say and what only tests say."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from daemon.demo.world.questions import WorldError

Kind = Literal["do", "say", "ask"]
KINDS: tuple[Kind, ...] = ("do", "say", "ask")
SHIPPED = Path(__file__).with_name("grammar.yaml")
HELD_OUT = 0.3  # share of every list of frames, cores and fillers that occurs in tests only
SLOT = re.compile(r"\{(\w+)\}")
CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IntentRules(_Strict):
    """One intent: what the desk answers, and the cores by kind."""

    reply: str = Field(min_length=1)
    do: list[str] = []
    say: list[str] = []
    ask: list[str] = []

    def cores(self) -> list[tuple[Kind, str]]:
        """(kind, core) in file order."""
        by_kind: dict[Kind, list[str]] = {"do": self.do, "say": self.say, "ask": self.ask}
        return [(kind, core) for kind in KINDS for core in by_kind[kind]]


class Noise(_Strict):
    """Shares of messages that are reworded by the table of paraphrases, or mistyped."""

    paraphrase: float = Field(ge=0, le=1)
    typo: float = Field(ge=0, le=1)


class Grammar(_Strict):
    """The whole file, as written."""

    new: str
    frames: dict[Kind, list[str]]
    fillers: dict[str, list[str]]
    desks: dict[str, dict[str, IntentRules]]
    paraphrases: dict[str, list[str]]
    noise: Noise


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame, core or filler; `tests_only` pieces never occur in base or live text."""

    text: str
    tests_only: bool


@dataclass(frozen=True, slots=True)
class Pieces:
    """The lists for one seed, each piece marked: frames by kind, fillers by slot, cores by desk and intent."""

    frames: dict[Kind, list[Piece]]
    fillers: dict[str, list[Piece]]
    cores: dict[tuple[str, str], list[tuple[Kind, Piece]]]


def load_grammar(path: Path | None = None) -> Grammar:
    """Read a grammar file (the shipped one by default). Raises `WorldError` naming what is wrong with it."""
    try:
        grammar = Grammar.model_validate(yaml.safe_load((path or SHIPPED).read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise WorldError(f"grammar {path or 'grammar.yaml'} cannot be read: {error}") from error
    _check(grammar)
    return grammar


def _check(grammar: Grammar) -> None:
    if grammar.new not in grammar.desks:
        raise WorldError(f"grammar: `new` must be one of the desks {sorted(grammar.desks)}, not {grammar.new!r}")
    known = set(grammar.fillers)
    used = {kind for intents in grammar.desks.values() for rules in intents.values() for kind, _ in rules.cores()}
    for kind in KINDS:
        frames = grammar.frames.get(kind, [])
        if kind in used and len(frames) < 2:
            raise WorldError(f"grammar: expected at least two frames of kind {kind!r}, one of them for tests only")
        for frame in frames:
            _known_slots(frame, known | {kind})
    for desk, intents in grammar.desks.items():
        for intent, rules in intents.items():
            if not rules.cores():
                raise WorldError(f"grammar: {desk}.{intent} has no core")
            for _, core in rules.cores():
                _known_slots(core, known)


def _known_slots(template: str, known: set[str]) -> None:
    unknown = set(SLOT.findall(template)) - known
    if unknown:
        raise WorldError(f"grammar: {template!r} uses {sorted(unknown)}; fillers are {sorted(known)}")


def put_aside(grammar: Grammar, seed: int, share: float = HELD_OUT) -> Pieces:
    """Mark `share` of every list as tests only, drawn by the seed and the list's own name.

    An intent's cores are one list, so that the share holds for short kinds as well; at least one of each list stays
    and, where there are two, at least one is put aside.
    """

    def marked(name: str, texts: list[str]) -> list[Piece]:
        held = max(0, min(max(1, round(share * len(texts))), len(texts) - 1))
        aside = set(random.Random(f"{seed}/{name}").sample(range(len(texts)), held))
        return [Piece(text, i in aside) for i, text in enumerate(texts)]

    cores: dict[tuple[str, str], list[tuple[Kind, Piece]]] = {}
    for desk, intents in grammar.desks.items():
        for intent, rules in intents.items():
            kinds: list[Kind] = [kind for kind, _ in rules.cores()]
            texts = [core for _, core in rules.cores()]
            cores[desk, intent] = list(zip(kinds, marked(f"{desk}/{intent}", texts), strict=True))
    return Pieces(
        frames={kind: marked(kind, frames) for kind, frames in grammar.frames.items()},
        fillers={slot: marked(slot, values) for slot, values in grammar.fillers.items()},
        cores=cores,
    )
