# pyright: basic
"""What an adapter says to a few prompts, and how sure it is: the yardstick of the effect proof on every replica."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F

from adapters.manifest import FingerprintItem


@torch.no_grad()
def greedy(model: Any, prompt: Sequence[int], tokens: int, stop: int | None) -> tuple[list[int], list[float]]:
    """Greedy continuation of one prompt: token ids and their log-probabilities (nats), the stop token included."""
    ids, said, logs = list(prompt), list[int](), list[float]()
    for _ in range(tokens):
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        probabilities = F.log_softmax(logits, -1)
        token = int(probabilities.argmax())
        said.append(token)
        logs.append(float(probabilities[token]))
        ids.append(token)
        if token == stop:
            break
    return said, logs


def fingerprint(
    model: Any, prompts: Sequence[Sequence[int]], keep: int, tokens: int, stop: int | None
) -> list[FingerprintItem]:
    """The ``keep`` prompts on which adapter and base differ most, with both continuations.

    ``model`` is a peft model; the base is the same weights with the adapter switched off. The effect of a prompt is the
    largest gap between the two, a different token counting as ten nats.
    """
    items: list[tuple[float, FingerprintItem]] = []
    for prompt in prompts:
        ours, our_logs = greedy(model, prompt, tokens, stop)
        with model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext():
            base, base_logs = greedy(model, prompt, tokens, stop)
        effect = 10.0 if ours != base else max(abs(a - b) for a, b in zip(our_logs, base_logs, strict=True))
        item = FingerprintItem(
            prompt_ids=list(prompt),
            expected_ids=ours,
            expected_logprobs=our_logs,
            base_ids=base,
            base_logprobs=base_logs,
        )
        # sure tokens first: a near tie may fall the other way on another machine
        items.append((effect + min(our_logs), item))
    items.sort(key=lambda pair: -pair[0])
    return [item for _, item in items[:keep]]
