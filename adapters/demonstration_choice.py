"""Which believed examples are shown in the prompt: few, unlike one another, and like most of the others.

Greedy maximisation of the facility location function f(S) = sum_i max_{j in S} cos(x_i, x_j) over the examples'
prompts (Lin & Bilmes 2011, "A Class of Submodular Functions for Document Summarization"; within 1 - 1/e of the best
set of that size, Nemhauser, Wolsey & Fisher 1978). A pair gains only by examples that no chosen one is near, so the
set covers the slice instead of repeating its most frequent question. Diverse and representative demonstrations beat
random ones (vote-k: Su et al. 2022, arXiv 2209.01975). Pure: the same examples give the same pairs in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from adapters.decisions import Decision
from adapters.demonstrations import LONGEST_ID, DemonstrationsConfig, Pair
from adapters.examples import Example
from adapters.selection import Selection, digest_of
from adapters.similarity import cosines, vectors
from adapters.stages.stage import Reason
from streams.events import SYSTEM_ROLES, Message
from streams.redact import was_redacted

STAGE: Final = "demonstrations"
MOST_POOL: Final = 2000
"""Newest examples that are chosen from: their similarities are a matrix of at most 16 MB."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen examples in the order in which they are read, and why each of the others was not."""

    chosen: tuple[Example, ...]
    left: dict[str, Reason]
    """Exchange id to reason."""


def choose_pairs(examples: Sequence[Example], config: DemonstrationsConfig, shaped: Collection[str] = ()) -> Choice:
    """At most ``max_pairs`` examples within ``max_characters``, one an identity; none when nothing fits. ``shaped``:
    exchanges whose answer a picture, a tool or a format made what it was; to the words alone it is not the right one.

    The most representative one is read last, next to the question: what stands nearest weighs most (Lu et al. 2022,
    arXiv 2104.08786).
    """
    newest = sorted(examples, key=lambda e: (-e.at, e.exchange_id))
    left = {e.exchange_id: reason for e in newest if (reason := _unfit(e, config, shaped)) is not None}
    fit = [e for e in newest if e.exchange_id not in left]
    pool = fit[:MOST_POOL]
    left |= {e.exchange_id: Reason.NOT_DEMONSTRATED for e in fit}
    alike = cosines(vectors([e.prompt for e in pool]))
    covered = np.zeros(len(pool), np.float32)
    free = np.ones(len(pool), np.bool_)
    chosen: list[Example] = []
    room = config.max_characters
    size = np.asarray([_pair(e).characters for e in pool], np.int64)
    while len(chosen) < config.max_pairs:
        free &= size <= room
        if not free.any():
            break
        gains = np.where(free, np.maximum(alike - covered, 0.0).sum(axis=1), -1.0)
        best = int(gains.argmax())  # the first of equals: the newest
        chosen.append(pool[best])
        covered = np.maximum(covered, alike[best])
        room -= int(size[best])
        free &= np.asarray([e.identity != pool[best].identity for e in pool], np.bool_)
    for example in chosen:
        del left[example.exchange_id]
    return Choice(tuple(reversed(chosen)), left)


def demonstrated(
    selection: Selection, config: DemonstrationsConfig, seed: int, shaped: Collection[str] = ()
) -> tuple[Selection, tuple[Pair, ...]]:
    """The selection narrowed to what is shown, with its own digest, and the pairs. Hold-outs stay; nothing is replayed.

    So a demonstrations version has a buffer as a trained one has: lineage, suspension and "forget this user" go by it.
    """
    choice = choose_pairs(selection.new, config, shaped)
    decisions = tuple(_decision(d, choice) for d in selection.decisions)
    counts = dict(sorted(Counter(f"{d.role}/{d.stage}/{d.reason}" for d in decisions).items()))
    digest = digest_of(choice.chosen, (), (), selection.holdout_old, selection.holdout_new, config, seed)
    narrowed = replace(
        selection, new=choice.chosen, replay=(), anchors=(), decisions=decisions, counts=counts, digest=digest
    )
    return narrowed, tuple(_pair(e) for e in choice.chosen)


def _decision(decision: Decision, choice: Choice) -> Decision:
    if decision.role == "replay":
        return replace(decision, role="out", stage=STAGE, reason=Reason.NOT_DEMONSTRATED)
    reason = choice.left.get(decision.exchange_id)
    if decision.role != "new" or reason is None:
        return decision
    return replace(decision, role="out", stage=STAGE, reason=reason)


def _unfit(example: Example, config: DemonstrationsConfig, shaped: Collection[str]) -> Reason | None:
    """Why an example cannot be shown to other users at all; None when it can."""
    if example.exchange_id in shaped:
        return Reason.SHAPED
    if not 0 < len(example.exchange_id) <= LONGEST_ID:
        return Reason.TOO_LONG
    turns = _turns(example)
    if len(turns) != 1 or turns[0].role != "user":
        return Reason.SEVERAL_TURNS  # an answer that hangs on what was said before answers nobody else
    if not turns[0].content.strip() or not (example.target or "").strip():
        return Reason.EMPTY
    pair = _pair(example)
    if was_redacted(pair.question) or was_redacted(pair.answer):
        return Reason.REDACTED
    fair = config.max_characters / config.max_pairs
    return Reason.TOO_LONG if pair.characters > min(2 * fair, config.max_characters) else None


def _turns(example: Example) -> list[Message]:
    return [m for m in example.messages if m.role not in SYSTEM_ROLES]


def _pair(example: Example) -> Pair:
    question, answer = _turns(example)[0].content, (example.target or "").strip()
    return Pair(exchange_id=example.exchange_id, question=question, answer=answer)
