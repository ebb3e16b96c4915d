# pyright: basic
"""Training a tiny chat model from scratch: one pass of a fixed number of tokens over pairs and unlabelled lines.

Muon on the hidden matrices and AdamW on the rest (embeddings, norms), cosine with warm-up, batches of like length. The
loss is next-token cross-entropy on the replies, and with less weight on a sample of the prompt positions: a base that
has read the words of a domain can be adapted to it by a few hundred examples, one that has not cannot. Lines without a
reply are prompts only. Muon: Jordan et al. 2024, as `torch.optim.Muon` has it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM

from adapters.training.batching import Batch, by_length, pad
from adapters.training.chat import Encoded, Pair, drop_words, encode_pairs, encode_prompts
from adapters.training.schedule import cosine
from adapters.training.tiny_model import ASSISTANT, PAD, SPECIALS, Shape, build_model, build_tokenizer


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the base is trained; the defaults take about a minute on two quiet cores."""

    shape: Shape = field(default_factory=Shape)
    tokens: int = 1_200_000  # read in all, whatever the size of the corpus: time is what is fixed
    epochs_max: float = 12.0  # over a small corpus: it would only learn it by heart
    batch_tokens: int = 2048
    matrix_lr: float = 0.02  # Muon
    rest_lr: float = 8e-3  # AdamW
    weight_decay: float = 0.01
    warmup: float = 0.05  # share of the steps
    prompt_weight: float = 0.5  # of a prompt token's loss, against 1 for a reply token
    prompt_sample: float = 0.4  # of prompt positions that count in a step: the output layer is a third of the cost
    word_dropout: float = 0.25  # share of prompt tokens left out, so that no answer hangs on one word
    grad_clip: float = 1.0


Told = Callable[[int, int, float], None]
"""Called after each step with steps done, steps in all, and the loss of that step (nats a token)."""


def train_tiny(
    pairs: Sequence[tuple[str, str]], lines: Sequence[str], seed: int, told: Told, recipe: Recipe | None = None
) -> tuple[LlamaForCausalLM, Any]:
    """A model and its tokenizer, the same for the same text, seed and number of torch threads.

    `pairs` are (prompt, reply), `lines` prompts without one. Raises `ValueError` where there is no pair to learn from.
    """
    recipe = recipe or Recipe()
    if not pairs:
        raise ValueError("expected at least one (prompt, reply) pair to train a base on, got none")
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = build_tokenizer([*(t for pair in pairs for t in pair), *lines], recipe.shape.vocabulary)
    model = build_model(recipe.shape, len(tokenizer))
    rows = _rows(tokenizer, pairs, lines, recipe.shape.positions)
    plan = _plan(rows, recipe, rng)
    steppers = _optimizers(model, recipe)
    special = frozenset(range(len(SPECIALS)))
    model.train()
    for step, rows_now in enumerate(plan):
        for optimizer, peak in steppers:
            for group in optimizer.param_groups:
                group["lr"] = peak * cosine(step, len(plan), recipe.warmup)
        loss = _loss(model, pad([drop_words(r, recipe.word_dropout, special, rng) for r in rows_now], PAD), recipe)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        for optimizer, _ in steppers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        told(step + 1, len(plan), float(loss.detach()))
    return model.eval(), tokenizer


def _rows(tokenizer: Any, pairs: Sequence[tuple[str, str]], lines: Sequence[str], longest: int) -> list[Encoded]:
    rows = encode_pairs(tokenizer, [Pair.ask(prompt, reply) for prompt, reply in pairs])
    prompts = encode_prompts(tokenizer, [[{"role": "user", "content": line}] for line in lines])
    # a line ends before the assistant's mark: nothing is said about what follows it
    rows += [Encoded(ids[:-1], len(ids) - 1) for ids in prompts if ids[-1] == ASSISTANT]
    return [row for row in rows if len(row.ids) <= longest]


def _plan(rows: Sequence[Encoded], recipe: Recipe, rng: random.Random) -> list[list[Encoded]]:
    """Batches for the whole training: whole epochs, shuffled anew, until the budget of tokens is read."""
    budget = min(recipe.tokens, recipe.epochs_max * sum(len(row.ids) for row in rows))
    plan: list[list[Encoded]] = []
    read = 0
    while read < budget:
        for batch in by_length(rows, recipe.batch_tokens, rng):
            plan.append(batch)
            read += sum(len(row.ids) for row in batch)
            if read >= budget:
                break
    return plan


def _optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[tuple[torch.optim.Optimizer, float]]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and "head" not in name]
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    decay = recipe.weight_decay
    return [
        (torch.optim.Muon(matrices, lr=recipe.matrix_lr, weight_decay=decay), recipe.matrix_lr),
        (
            torch.optim.AdamW(rest, lr=recipe.rest_lr, weight_decay=decay, betas=(0.9, 0.98), fused=True),
            recipe.rest_lr,
        ),
    ]


def _loss(model: LlamaForCausalLM, batch: Batch, recipe: Recipe) -> torch.Tensor:
    """Weighted mean cross-entropy (nats); the output layer is applied only at positions that count."""
    reply = batch.reply[:, 1:]
    sampled = torch.rand(reply.shape) < recipe.prompt_sample
    counted = batch.attention[:, 1:].bool() & (reply | sampled)
    hidden = model.model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][counted]).float()
    losses = F.cross_entropy(logits, batch.ids[:, 1:][counted], reduction="none")
    weights = torch.where(reply[counted], 1.0, recipe.prompt_weight)
    return (losses * weights).sum() / weights.sum()
