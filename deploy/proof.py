"""The effect proof: does this replica really serve this version?

A load may answer 200 and do nothing: a wrong key prefix, a zero adapter, another file under the name, half the tensors zeroed.
So each fingerprint prompt is continued greedily under the version, and its tokens and output log-probabilities are compared
with what the trainer saw. A LoRA must match the trainer and differ from the base; the identity version must equal the base.
Prompt log-probabilities are never asked for: with adapters in the batch they can kill the engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.manifest import FingerprintItem, Manifest
from deploy.driver import Completion, Driver

TOLERANCE: Final = 0.05
"""Nats a token. Two correct implementations in float32 differ by about 0.01; half a zeroed adapter by more than 0.3."""
LEAST_EFFECT: Final = 0.10
"""Nats a token by which a LoRA must differ from the base on its fingerprint: twice the tolerance, so both cannot hold."""
IDENTITY_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class ProofResult:
    """Whether the effect is proved, and the numbers."""

    ok: bool
    reason: str
    numbers: dict[str, float] = field(default_factory=dict[str, float])


def prove(driver: Driver, manifest: Manifest, base_name: str, probes: Sequence[Sequence[int]]) -> ProofResult:
    """Ask the replica. ``probes``: prompts (token ids) for the identity version. Raises DriverError."""
    if manifest.kind == "identity":
        pairs = [
            (driver.complete(manifest.version, p, IDENTITY_TOKENS), driver.complete(base_name, p, IDENTITY_TOKENS))
            for p in probes
        ]
        return judge_identity(pairs)
    found = [driver.complete(manifest.version, f.prompt_ids, len(f.expected_ids)) for f in manifest.fingerprint]
    return judge_lora(manifest.fingerprint, found)


def judge_identity(pairs: Sequence[tuple[Completion, Completion]]) -> ProofResult:
    """(under the identity version, under the base) for each probe: they must be equal."""
    if not pairs:
        return ProofResult(False, "no_probes")
    gaps: list[float] = []
    for ours, base in pairs:
        if not _finite(ours) or not _finite(base):
            return ProofResult(False, "not_finite")
        if ours.token_ids != base.token_ids:
            return ProofResult(False, "identity_changes_tokens")
        gaps.append(_gap(ours.logprobs, base.logprobs))
    worst = max(gaps)
    return ProofResult(worst <= TOLERANCE, "proved" if worst <= TOLERANCE else "identity_differs", {"gap": worst})


def judge_lora(expected: Sequence[FingerprintItem], found: Sequence[Completion]) -> ProofResult:
    """Compare with the trainer's fingerprint: near the adapter's log-probabilities, away from the base's."""
    if not expected:
        return ProofResult(False, "no_fingerprint")
    if any(not _finite(c) for c in found):
        return ProofResult(False, "not_finite")
    near = [_agrees(f.expected_ids, f.expected_logprobs, c) for f, c in zip(expected, found, strict=True)]
    as_base = [_agrees(f.base_ids, f.base_logprobs, c) for f, c in zip(expected, found, strict=True)]
    gap, base_gap = max(near), max(as_base)
    numbers = {"gap": min(gap, 99.0), "gap_to_base": min(base_gap, 99.0)}
    if gap <= TOLERANCE and base_gap >= LEAST_EFFECT:
        return ProofResult(True, "proved", numbers)
    if base_gap < LEAST_EFFECT:
        return ProofResult(False, "no_effect", numbers)
    return ProofResult(False, "effect_differs", numbers)


def _agrees(ids: Sequence[int], logs: Sequence[float], got: Completion) -> float:
    """Largest gap over the common start; a different token is an infinite one, unless the two were nearly tied there."""
    for i, token in enumerate(ids):
        if i >= len(got.token_ids):
            return math.inf
        if token != got.token_ids[i]:
            tied = abs(logs[i] - got.logprobs[i]) <= TOLERANCE and logs[i] < math.log(0.55)
            return _gap(logs[:i], got.logprobs[:i]) if tied and i else math.inf
    return _gap(logs, got.logprobs[: len(logs)])


def _gap(a: Sequence[float], b: Sequence[float]) -> float:
    return max((abs(x - y) for x, y in zip(a, b, strict=False)), default=0.0)


def _finite(completion: Completion) -> bool:
    return bool(completion.logprobs) and all(math.isfinite(x) for x in completion.logprobs)
