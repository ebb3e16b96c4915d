# pyright: standard
"""Registered versions for a base, their fingerprints computed by transformers and peft: the reference for servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapters.base_shape import read_base_shape
from adapters.manifest import FingerprintItem, Manifest, list_files, make_manifest
from adapters.registry import Registry
from adapters.training_config import ALL_TARGETS
from tests.tiny_base import make_adapter

PROMPTS = ([1, 3, 80, 90, 100, 4], [1, 3, 111, 4], [1, 3, 77, 99, 140, 150, 160, 4], [1, 3, 200, 210, 4])
TOKENS = 8


def continue_greedily(model: Any, prompt: list[int], tokens: int = TOKENS) -> tuple[list[int], list[float]]:
    """Greedy continuation, one whole forward pass a token: no cache, no batch, nothing to get wrong."""
    ids, logs = list(prompt), []
    with torch.inference_mode():
        for _ in range(tokens):
            line = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1].float(), -1)
            best = int(line.argmax())
            ids.append(best)
            logs.append(float(line[best]))
            if best == 2:
                break
    return ids[len(prompt) :], logs


def fingerprint(base: Path, adapter: Path) -> list[FingerprintItem]:
    """What base and adapter say to the prompts."""
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    said = [continue_greedily(plain, p) for p in PROMPTS]
    tuned = PeftModel.from_pretrained(plain, adapter).eval()
    items: list[FingerprintItem] = []
    for prompt, (base_ids, base_logs) in zip(PROMPTS, said, strict=True):
        ids, logs = continue_greedily(tuned, prompt)
        items.append(
            FingerprintItem(
                prompt_ids=prompt, expected_ids=ids, expected_logprobs=logs, base_ids=base_ids, base_logprobs=base_logs
            )
        )
    return items


def register(registry: Registry, base: Path, seed: int, rank: int = 8, scale: float = 0.3) -> Manifest:
    """A random version, admitted through the file checks; the smaller its ``scale``, the nearer to the base."""
    shape = read_base_shape(base)
    staging = registry.stage(f"job-{seed}-{rank}")
    make_adapter(base, staging, seed, rank, scale)
    manifest = make_manifest(
        kind="lora",
        deployment="support",
        tenant="default",
        base_digest=shape.digest,
        rank=rank,
        alpha=2.0 * rank,
        targets=list(ALL_TARGETS),
        files=list_files(staging),
        fingerprint=fingerprint(base, staging),
        created_at=1.0,
    )
    (staging / "manifest.json").write_bytes(manifest.to_bytes())
    return registry.admit(staging, shape)


def register_identity(registry: Registry, base: Path) -> Manifest:
    """The identity version of the base."""
    shape = read_base_shape(base)
    return registry.admit_identity(
        shape, deployment="support", tenant="default", rank=8, alpha=16.0, targets=ALL_TARGETS
    )
