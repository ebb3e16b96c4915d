"""The world that the options name."""

from __future__ import annotations

from pathlib import Path

from daemon.demo.world.corpus_desks import deal
from daemon.demo.world.corpus_files import read_corpus
from daemon.demo.world.corpus_world import CorpusWorld
from daemon.demo.world.grammar import load_grammar
from daemon.demo.world.grammar_world import GrammarWorld
from daemon.demo.world.questions import DeskWorld, WorldError


def build_world(corpus: Path | None, new: str | None, seed: int, new_desks: int = 1) -> DeskWorld:
    """A world of the shipped grammar, or of a corpus folder; `new_desks` desks are new, the first of them `new`.

    Without `new`: the grammar's own choice, or a corpus's last group by name. Further new desks are taken from the end
    of the list of desks. Raises `WorldError` naming what is wrong and what there is to choose from.
    """
    if corpus is not None:
        return CorpusWorld(deal(read_corpus(corpus), new, new_desks, seed), seed)
    grammar = load_grammar()
    first = grammar.new if new is None else new
    if first not in grammar.desks:
        raise WorldError(f"--new {new!r} is no desk of the grammar; its desks are: {', '.join(grammar.desks)}")
    others = [desk for desk in reversed(grammar.desks) if desk != first]
    return GrammarWorld(grammar, [first, *others[: new_desks - 1]], seed)
