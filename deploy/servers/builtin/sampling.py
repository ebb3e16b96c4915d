# pyright: standard
"""From logits to tokens: greedy, temperature, top-k and top-p (Holtzman et al. 2020), and log-probabilities.

Log-probabilities are those of the model's raw distribution, before temperature, as vLLM reports them by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request wants its tokens chosen."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all."""
    seed: int | None = None
    top_logprobs: int | None = None
    """None: no log-probabilities; 0: those of the chosen tokens; n: n alternatives too."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability (nats) of a chosen token, and of the likeliest alternatives (token id, log-probability)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Draw:
    """A row's sampling with its own random numbers, if it asked for a seed."""

    sampling: Sampling
    generator: torch.Generator


def choose(logits: Tensor, rows: Sequence[Draw]) -> tuple[list[int], list[TokenLogprob | None]]:
    """One token a row from logits [rows, vocabulary]."""
    chosen = logits.argmax(-1)
    for i, row in enumerate(rows):
        if row.sampling.temperature > 0:
            chosen[i] = _draw(logits[i], row)
    tokens: list[int] = chosen.tolist()
    wanted = [i for i, row in enumerate(rows) if row.sampling.top_logprobs is not None]
    found: list[TokenLogprob | None] = [None] * len(rows)
    if wanted:
        logprobs = torch.log_softmax(logits[wanted].float(), -1)
        for line, i in enumerate(wanted):
            found[i] = _logprob(logprobs[line], tokens[i], rows[i].sampling.top_logprobs or 0)
    return tokens, found


def _draw(logits: Tensor, row: Draw) -> Tensor:
    sampling = row.sampling
    scaled = logits.float() / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[-1]:
        least = scaled.topk(sampling.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < least, float("-inf"))
    probabilities = torch.softmax(scaled, -1)
    if sampling.top_p < 1.0:
        ordered, order = probabilities.sort(descending=True)
        # A token stays while the mass before it is below top_p; the first one always does.
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= sampling.top_p, 0.0)
        return order[torch.multinomial(ordered, 1, generator=row.generator)[0]]
    return torch.multinomial(probabilities, 1, generator=row.generator)[0]


def _logprob(line: Tensor, token: int, top: int) -> TokenLogprob:
    if top == 0:
        return TokenLogprob(token, float(line[token]))
    best = line.topk(min(top, line.shape[-1]))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return TokenLogprob(token, float(line[token]), tuple(pairs))
