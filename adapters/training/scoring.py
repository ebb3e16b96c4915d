# pyright: basic
"""How likely a model finds given replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from adapters.training.batching import Batch, pad
from adapters.training.chat import Encoded

ROWS = 64  # in one forward pass


@torch.no_grad()
def mean_nll(
    logits_of: Callable[[Batch], torch.Tensor], rows: Sequence[Encoded], pad_id: int, device: torch.device
) -> float:
    """Mean negative log-likelihood of the reply tokens, in nats a token. Raises `ValueError` without rows."""
    if not rows:
        raise ValueError("expected at least one row to score, got none")
    total, tokens = 0.0, 0
    ordered = sorted(rows, key=lambda row: len(row.ids))
    for begin in range(0, len(ordered), ROWS):
        batch = pad(ordered[begin : begin + ROWS], pad_id).to(device)
        targets = batch.ids[:, 1:][batch.reply[:, 1:]]
        total += float(F.cross_entropy(logits_of(batch), targets, reduction="sum"))
        tokens += targets.numel()
    return total / tokens
