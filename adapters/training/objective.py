# pyright: basic
"""The loss of an adaptation: learn the new replies, and stay the champion everywhere else.

    loss = CE(new targets) + kl_weight · KL(champion ‖ candidate) on the champion's own recorded replies

The teacher needs no labels: any recorded exchange shows what the champion would say. Word dropout on both prompts is
the same idea twice: no answer, old or new, may hang on one word.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from adapters.training.batching import Batch


def reply_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Logits [reply tokens, vocabulary] at the positions that predict a reply token; the output layer runs only
    there.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    states = inner.model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).last_hidden_state
    return inner.lm_head(states[:, :-1][batch.reply[:, 1:]]).float()


def reply_tokens(batch: Batch) -> torch.Tensor:
    """Ids [reply tokens], in the order of ``reply_logits``."""
    return batch.ids[:, 1:][batch.reply[:, 1:]]


def supervised(model: Any, batch: Batch) -> torch.Tensor:
    """Weighted mean cross-entropy (nats a token) of the targets."""
    losses = F.cross_entropy(reply_logits(model, batch), reply_tokens(batch), reduction="none")
    weights = batch.weights[:, None].expand_as(batch.reply[:, 1:])[batch.reply[:, 1:]]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def distance_to(teacher: Any, model: Any, batch: Batch) -> torch.Tensor:
    """Mean KL (nats a token) from the teacher's distribution to the model's on the reply positions."""
    with torch.no_grad():
        wanted = F.log_softmax(reply_logits(teacher, batch), -1)
    found = F.log_softmax(reply_logits(model, batch), -1)
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")
