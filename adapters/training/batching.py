# pyright: basic
"""Rows to tensors: padding, and batches of like length within a budget of tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from adapters.training.chat import Encoded


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows, all [rows, longest]: token ids, 1 where there is a token, True where a reply token stands.

    `weights` is [rows].
    """

    ids: torch.Tensor
    attention: torch.Tensor
    reply: torch.Tensor
    weights: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(*(t.to(device) for t in (self.ids, self.attention, self.reply, self.weights)))


def pad(rows: Sequence[Encoded], pad_id: int) -> Batch:
    """Right-padded tensors of the rows (training); for generation see `pad_left`."""
    longest = max(len(r.ids) for r in rows)
    lengths = torch.tensor([len(r.ids) for r in rows])
    starts = torch.tensor([r.start for r in rows])
    ids = torch.tensor([r.ids + [pad_id] * (longest - len(r.ids)) for r in rows])
    at = torch.arange(longest)[None, :]
    attention = at < lengths[:, None]
    reply = attention & (at >= starts[:, None])
    return Batch(ids, attention.long(), reply, torch.tensor([r.weight for r in rows]))


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded ids and attention, both [rows, longest], as batched greedy decoding needs them."""
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts])
    lengths = torch.tensor([len(p) for p in prompts])
    attention = (torch.arange(longest)[None, :] >= (longest - lengths)[:, None]).long()
    return ids, attention


def endless(rows: Sequence[Encoded], size: int, rng: random.Random, span: int = 12) -> Iterator[list[Encoded]]:
    """Batches of `size` rows for ever, like lengths together: every row once before any comes again.

    Lengths are sorted inside windows of `span` batches, whose order is random; fewer rows than `size` are repeated.
    """
    window: list[Encoded] = []
    while True:
        while len(window) < size * span:
            window += rng.sample(rows, len(rows))
        taken, window = window[: size * span], window[size * span :]
        taken.sort(key=lambda row: len(row.ids))
        batches = [taken[i : i + size] for i in range(0, len(taken), size)]
        rng.shuffle(batches)
        yield from batches


def by_length(rows: Sequence[Encoded], tokens: int, rng: random.Random, chunk: int = 256) -> list[list[Encoded]]:
    """Batches of at most `tokens` padded tokens, like lengths together, in random order.

    Rows are sorted by length only inside shuffled chunks, so that epochs differ; padding stays below some 5 %.
    """
    order = list(range(len(rows)))
    rng.shuffle(order)
    out: list[list[Encoded]] = []
    span = chunk * max(1, tokens // 256)
    for begin in range(0, len(order), span):
        part = sorted(order[begin : begin + span], key=lambda j: len(rows[j].ids))
        current: list[Encoded] = []
        for j in part:
            # sorted ascending: the newest row is the longest
            if current and len(rows[j].ids) * (len(current) + 1) > tokens:
                out.append(current)
                current = []
            current.append(rows[j])
        if current:
            out.append(current)
    rng.shuffle(out)
    return out
