# pyright: basic
"""What training minimises: cross-entropy on trusted targets, and the distance to the champion on its own replies.

Supervised targets come first because preference signals alone cannot teach an answer that the model never gives. The
second term is knowledge distillation on recorded prompts (Hinton et al. 2015; as a guard against forgetting: Li &
Hoiem, "Learning without Forgetting", 2016): it needs no labels, so any traffic that was not contradicted will do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from adapters.training.batching import Batch


def supervised(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the reply tokens, in nats, each weighted by its row; 0 where all weights are 0.

    `logits` is [reply tokens, vocabulary], in the order of the batch's reply positions.
    """
    reply = batch.reply[:, 1:]
    losses = F.cross_entropy(logits, batch.ids[:, 1:][reply], reduction="none")
    weights = batch.weights[:, None].expand_as(reply)[reply]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-9)


def divergence(logits: torch.Tensor, champion: torch.Tensor) -> torch.Tensor:
    """Mean KL(champion || student) over the reply tokens, in nats. Both are logits of [reply tokens, vocabulary]."""
    student = F.log_softmax(logits, dim=-1)
    teacher = F.log_softmax(champion, dim=-1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")
