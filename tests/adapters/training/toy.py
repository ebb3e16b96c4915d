# pyright: basic
"""A toy world for training tests: a few words that decide the reply, and a base that learns it in seconds."""

from __future__ import annotations

import random
from typing import Any

from adapters.training.tiny_model import Shape
from adapters.training.tiny_training import Recipe, train_tiny

OLD = {"refund": "billing: refund it", "invoice": "billing: send it", "password": "account: reset it"}
NEW = {"stolen": "account: send it", "covered": "billing: reset it"}
FRAMES = ("i ask about {} today", "hello {} please", "what about {} now", "my {} is the problem", "tell me of {} again")
SMALL = Recipe(
    shape=Shape(vocabulary=330, hidden=64, layers=2, head_dim=32, feed_forward=96, positions=128),
    tokens=40_000,
    epochs_max=40,
    batch_tokens=512,
)


def asked(words: dict[str, str], count: int, seed: int) -> list[tuple[str, str]]:
    """`count` (prompt, reply) pairs in random frames, with a number for variety."""
    rng = random.Random(seed)
    pairs: list[tuple[str, str]] = []
    for _ in range(count):
        word = rng.choice(list(words))
        pairs.append((rng.choice(FRAMES).format(word) + f" {rng.randrange(100)}", words[word]))
    return pairs


def toy_base(seed: int = 0, recipe: Recipe = SMALL) -> tuple[Any, Any]:
    """(model, tokenizer) that answers the old words and has read the new ones."""
    lines = [prompt for prompt, _ in asked(NEW, 150, 2)]
    return train_tiny(asked(OLD, 300, 1), lines, seed, lambda *_: None, recipe)
