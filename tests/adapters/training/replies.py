# pyright: basic
"""Greedy replies of a model, and how many are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adapters.training.chat import encode_prompts
from adapters.training.fingerprint import greedy

ROWS = 128  # in one batch


@torch.no_grad()
def replies(model: Any, tokenizer: Any, prompts: Sequence[str], tokens: int = 24) -> list[str]:
    """What the model answers to single user turns."""
    model.eval()
    ids = encode_prompts(tokenizer, [[{"role": "user", "content": p}] for p in prompts])
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    texts = [""] * len(ids)
    ends = frozenset({int(tokenizer.eos_token_id)})
    for begin in range(0, len(order), ROWS):
        part = order[begin : begin + ROWS]
        found = greedy(model, [ids[i] for i in part], tokens, int(tokenizer.pad_token_id), ends)
        for i, continuation in zip(part, found, strict=True):
            texts[i] = tokenizer.decode(continuation.ids)
    return texts


def right(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether each reply is the right one, exactly."""
    said = replies(model, tokenizer, [prompt for prompt, _ in pairs])
    return [text.strip() == reply for text, (_, reply) in zip(said, pairs, strict=True)]


def share_right(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> float:
    """Share of right replies."""
    return sum(right(model, tokenizer, pairs)) / len(pairs)
