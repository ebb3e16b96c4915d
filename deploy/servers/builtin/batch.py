# pyright: standard
"""The running batch: rows join after their prompt was read and leave with their last token.

Keys and values lie left-padded, so that the newest token of every row is in the last column and one forward pass takes
one step of all of them. Joining pads the shorter side on the left; leaving drops rows and the columns that nobody needs
any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from deploy.servers.builtin.lora import Adapter, LoraBank
from deploy.servers.builtin.sampling import Draw, TokenLogprob, choose


@dataclass(slots=True, eq=False)
class Row:
    """One sequence being generated."""

    prompt: list[int]
    adapter: Adapter | None
    draw: Draw
    max_tokens: int
    stop_ids: frozenset[int]
    min_tokens: int
    on_step: Callable[[Row], None] | None
    """Called on the event loop after every token of a stream."""
    on_end: Callable[[Row], None]
    """Called on the event loop when the row is finished or failed."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None
    stop_token: int | None = None
    error: str | None = None
    cancelled: bool = False
    told: bool = False
    """True once ``on_end`` was called."""

    def take(self, token: int, logprob: TokenLogprob | None) -> None:
        """Add one token, and say whether it was the last."""
        self.tokens.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        if token in self.stop_ids and len(self.tokens) > self.min_tokens:
            self.finish, self.stop_token = "stop", token
        elif len(self.tokens) >= self.max_tokens:
            self.finish = "length"


class Batch:
    """Rows that step together, their cache and their padding. Owned by the engine's thread."""

    def __init__(self, model: Any, bank: LoraBank, pad_id: int) -> None:
        self._model = model
        self._bank = bank
        self._pad = pad_id
        self.rows: list[Row] = []
        self._cache: Any = None
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def join(self, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows in one pass, take their first tokens, and let them step with the others."""
        longest = max(len(r.prompt) for r in rows)
        ids = torch.tensor([[self._pad] * (longest - len(r.prompt)) + r.prompt for r in rows])
        mask = torch.tensor([[0] * (longest - len(r.prompt)) + [1] * len(r.prompt) for r in rows])
        cache = DynamicCache()
        self._bank.select([r.adapter for r in rows])
        self._forward(rows, ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        if self._cache is None:
            self.rows, self._cache, self._mask = list(rows), cache, mask
        else:
            self._append(cache, mask)
            self.rows.extend(rows)
        self._bank.select([r.adapter for r in self.rows])
        self.drop_finished()

    def step(self) -> None:
        """One token for every row."""
        assert self._cache is not None
        ids = torch.tensor([[r.tokens[-1]] for r in self.rows])
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], 1)
        self._forward(self.rows, ids, self._mask, self._mask.sum(1, keepdim=True) - 1, self._cache)

    def reselect(self) -> None:
        """Look the rows' adapters up again, after the bank was restacked."""
        self._bank.select([r.adapter for r in self.rows])

    def clear(self) -> list[Row]:
        """Give up all rows (the pass failed) and return them."""
        rows, self.rows, self._cache = self.rows, [], None
        return rows

    def drop_finished(self) -> None:
        """Remove rows that have ended, and the padding that only they needed."""
        keep = [i for i, r in enumerate(self.rows) if r.finish is None and not r.cancelled]
        if len(keep) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in keep]
        if not keep or self._cache is None:
            self._cache = None
            return
        index = torch.tensor(keep)
        mask = self._mask[index]
        first = int(mask.any(0).long().argmax())
        self._mask = mask[:, first:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[index][:, :, first:]
            layer.values = layer.values[index][:, :, first:]
        self.reselect()

    def _forward(self, rows: Sequence[Row], ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> None:
        out = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens, logprobs = choose(out.logits[:, -1], [r.draw for r in rows])
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            row.take(token, logprob)

    def _append(self, cache: Any, mask: Tensor) -> None:
        assert self._cache is not None
        short = mask.shape[1] - self._mask.shape[1]
        old, new = max(short, 0), max(-short, 0)
        self._mask = torch.cat([functional.pad(self._mask, (old, 0)), functional.pad(mask, (new, 0))])
        for mine, theirs in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([_pad(mine.keys, old), _pad(theirs.keys, new)])
            mine.values = torch.cat([_pad(mine.values, old), _pad(theirs.values, new)])


def _pad(states: Tensor, columns: int) -> Tensor:
    """[rows, heads, tokens, size] with empty columns on the left."""
    return functional.pad(states, (0, 0, columns, 0)) if columns else states
