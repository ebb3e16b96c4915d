# pyright: basic
"""From chat messages to token ids, by the tokenizer's own chat template.

An encoded turn is one training row: the ids of the whole conversation and the index where the reply begins.
The ids are exactly those of `tokenizer.apply_chat_template`, because that is what a server feeds the model; a row built
any other way trains the adapter on prompts that it will never be asked.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Message = Mapping[str, str]


class PairError(ValueError):
    """A training pair that the chat template cannot express: the fault of whoever made the pair."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and the reply that is right for it (or that the champion gave, for replay).

    `weight` scales this pair's loss; 0 means "kept for the record, not learnt from".
    """

    messages: tuple[Message, ...]
    target: str
    weight: float = 1.0

    @classmethod
    def ask(cls, prompt: str, target: str, weight: float = 1.0) -> Pair:
        """A single user turn and its reply."""
        return cls(({"role": "user", "content": prompt},), target, weight)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row: token ids of prompt and reply, the index of the first reply token, and the loss weight."""

    ids: list[int]
    start: int
    weight: float = 1.0


def encode_prompts(tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Ids of each conversation up to and including the generation prompt."""
    if not prompts:
        return []
    return tokenizer.apply_chat_template(
        [list(p) for p in prompts], add_generation_prompt=True, tokenize=True, return_dict=False
    )


def encode_pairs(tokenizer: Any, pairs: Sequence[Pair]) -> list[Encoded]:
    """Rows for training: the ids of the template with the reply in it, split where the reply begins.

    Raises `PairError` where the template does not render the prompt as a prefix of the whole conversation (a template
    that rewrites earlier turns once there is an answer): such a row would train on a prompt nobody sends.
    """
    if not pairs:
        return []
    prompts = encode_prompts(tokenizer, [p.messages for p in pairs])
    whole = tokenizer.apply_chat_template(
        [[*p.messages, {"role": "assistant", "content": p.target}] for p in pairs], tokenize=True, return_dict=False
    )
    rows: list[Encoded] = []
    for pair, prompt, ids in zip(pairs, prompts, whole, strict=True):
        if ids[: len(prompt)] != prompt or len(ids) == len(prompt):
            raise PairError(
                "expected a chat template whose prompt is a prefix of the whole conversation and a target that is not "
                f"empty; got {len(prompt)} prompt tokens, {len(ids)} in all, for a target of {len(pair.target)} "
                "characters; use a template without reasoning rewrites, or drop the pair"
            )
        rows.append(Encoded(ids, len(prompt), pair.weight))
    return rows


def truncate(rows: Sequence[Encoded], max_tokens: int) -> list[Encoded]:
    """Rows no longer than `max_tokens`; longer ones are left out (a cut prompt is another question)."""
    return [r for r in rows if len(r.ids) <= max_tokens]


def drop_words(row: Encoded, share: float, special: frozenset[int], rng: random.Random) -> Encoded:
    """The row with a `share` of its prompt tokens left out, special tokens and the reply untouched.

    Token dropout on the question is the cheapest augmentation there is: the reply must not hang on a single word.
    """
    if share <= 0:
        return row
    head = [t for t in row.ids[: row.start] if t in special or rng.random() >= share]
    return replace(row, ids=head + row.ids[row.start :], start=len(head))
