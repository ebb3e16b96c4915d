# pyright: basic
"""The fingerprint of an adapter: greedy replies with log-probabilities, where it differs most from its base.

Servers are asked for the same prompts before the version may see traffic. Only output tokens are used; the end token is
left out, because not every server returns it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from adapters.training.batching import pad_left
from adapters.training.student import Student

CANDIDATES = 48  # prompts that are looked at, to choose from
SURE = 0.6  # probability of each token that leaves no doubt about which is the greedy one on other hardware
TELLING = 0.5  # nats from the base's first token: five times what a proof asks for


@dataclass(frozen=True, slots=True)
class Continuation:
    """Greedy tokens (without the end token) and the log-probability of each, in nats."""

    ids: list[int]
    logprobs: list[float]


@dataclass(frozen=True, slots=True)
class Print:
    """A prompt, and how adapter and base continue it."""

    prompt: list[int]
    adapter: Continuation
    base: Continuation


@torch.no_grad()
def greedy(
    model: Any, prompts: Sequence[Sequence[int]], tokens: int, pad_id: int, ends: frozenset[int]
) -> list[Continuation]:
    """At most `tokens` greedy tokens for each prompt, in one batch, up to the first of `ends`."""
    device = next(model.parameters()).device
    ids, attention = (t.to(device) for t in pad_left(prompts, pad_id))
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    rows = [Continuation([], []) for _ in prompts]
    open_rows = set(range(len(rows)))
    past = None
    for _ in range(tokens):
        out = model(
            input_ids=ids, attention_mask=attention, position_ids=positions, past_key_values=past, use_cache=True
        )
        past = out.past_key_values
        logprobs, chosen = F.log_softmax(out.logits[:, -1].float(), dim=-1).max(dim=-1)
        for i in sorted(open_rows):
            token = int(chosen[i])
            if token in ends:
                open_rows.discard(i)
                continue
            rows[i].ids.append(token)
            rows[i].logprobs.append(float(logprobs[i]))
        if not open_rows:
            break
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        attention = F.pad(attention, (0, 1), value=1)
    return rows


def fingerprint(student: Student, prompts: Sequence[Sequence[int]], count: int, tokens: int) -> list[Print]:
    """`count` of the prompts (fewer where there are fewer) with continuations of at most `tokens` tokens.

    Chosen: first one for each different reply, among them those that tell adapter and base apart, then those where the
    adapter is sure of each token, then by how far it is from the base: a sure reply that the base gives too proves
    nothing. Prompts to which adapter or base answer nothing at all are left out.
    """
    distinct = [list(p) for p in dict.fromkeys(tuple(p) for p in prompts)][:CANDIDATES]
    if not distinct:
        return []
    ends = _ends(student)
    was_training = student.model.training
    student.model.eval()
    ours = greedy(student.model, distinct, tokens, student.pad_id, ends)
    with student.as_base():
        theirs = greedy(student.model, distinct, tokens, student.pad_id, ends)
    student.model.train(was_training)
    return chosen([Print(p, a, b) for p, a, b in zip(distinct, ours, theirs, strict=True) if a.ids and b.ids], count)


def chosen(prints: Sequence[Print], count: int) -> list[Print]:
    """The `count` most telling ones, as `fingerprint` says. Pure."""
    ranked = sorted(
        prints, key=lambda p: (_distance(p) < TELLING, min(p.adapter.logprobs) < math.log(SURE), -_distance(p))
    )
    said: set[tuple[int, ...]] = set()
    new = [p for p in ranked if (reply := tuple(p.adapter.ids)) not in said and not said.add(reply)]
    return [*new, *(p for p in ranked if p not in new)][:count]


def _distance(found: Print) -> float:
    """How far the first tokens are apart, in nats; two different tokens are further apart than any two of the same."""
    if found.adapter.ids[0] != found.base.ids[0]:
        return 100.0 + found.adapter.logprobs[0]
    return abs(found.adapter.logprobs[0] - found.base.logprobs[0])


def _ends(student: Student) -> frozenset[int]:
    """Every token at which a server stops."""
    named: Any = getattr(student.model.generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    own: Any = student.tokenizer.eos_token_id
    return frozenset(int(t) for t in (*listed, own) if t is not None)
