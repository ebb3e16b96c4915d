"""The effect proof: does this replica really serve this version?

A load may answer 200 and do nothing: a wrong key prefix, a zero adapter, another file under the name, half the
tensors zeroed. So each fingerprint prompt is continued greedily under the version, and its tokens and output
log-probabilities are compared with what the trainer saw. A LoRA must match the trainer and differ from the base; the
identity version must equal the base. Demonstrations must make the version that they stand on say what it says to the
same pairs spelled out, and not what it says without them. Prompt log-probabilities are never asked for: with adapters
in the batch they can kill the engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from adapters.demonstrations import Demonstrations
from adapters.manifest import FingerprintItem, Manifest
from deploy.driver import Completion

TOLERANCE: Final = 0.05
"""Nats a token. vLLM, the built-in server and the trainer agree within 0.01 in float32; bfloat16 kernels differ by up
to 0.03. Half a zeroed adapter is off by more than 0.3 on trained ones.
"""
LEAST_EFFECT: Final = 2 * TOLERANCE
"""Nats a token by which a LoRA must differ from the base on its fingerprint; no reply can be near both."""
LEAST_SHARE: Final = 0.5
"""Share of the fingerprint's tokens that must have been compared: a near tie ends the comparison of its prompt."""
TIE_LOGPROB: Final = math.log(0.55)
"""Two tokens can only be nearly tied for first place where each has less than about half of the probability."""
IDENTITY_TOKENS: Final = 8
QUESTIONS: Final = 4
"""Pairs whose question is asked in the proof of demonstrations; each costs three short replies."""
IDENTITY_TRIES: Final = 2
"""A base request that is batched with adapters may meet the wrong slot on some builds; one more look tells."""


ProofReason = Literal[
    "proved",
    "no_effect",
    "effect_differs",
    "too_few_tokens_agree",
    "not_finite",
    "no_probes",
    "no_fingerprint",
    "identity_changes_tokens",
    "identity_differs",
    "stands_on_unproved",
]
"""Why a proof holds or does not; docs/reasons.md says what each means."""


@dataclass(frozen=True, slots=True)
class ProofResult:
    """Whether the effect is proved, and the numbers."""

    ok: bool
    reason: ProofReason
    numbers: dict[str, float] = field(default_factory=dict[str, float])


class Completer(Protocol):
    """What a proof needs of a replica."""

    def complete(self, model: str, prompt_ids: Sequence[int], max_tokens: int) -> Completion:
        """Greedy continuation with the log-probability of each token. Raises DriverError."""
        ...


class Speaker(Protocol):
    """What a proof of demonstrations needs of a replica: its gateway inserts the pairs."""

    def say(self, model: str, messages: Sequence[dict[str, str]], max_tokens: int) -> Completion:
        """Greedy reply with the log-probability of each token. Raises DriverError."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """The replies to one question: under the version, to the pairs spelled out, and without any."""

    shown: Completion
    spelled: Completion
    bare: Completion


def prove_demonstrations(driver: Speaker, version: str, made: Demonstrations) -> ProofResult:
    """Ask the replica the questions of the first pairs. Raises DriverError.

    The pairs are asked for in two ways that must agree: a gateway that inserts others, fewer or none is found out.
    """
    looks: list[Look] = []
    for pair in made.pairs[:QUESTIONS]:
        asked = [{"role": "user", "content": pair.question}]
        looks.append(
            Look(
                driver.say(version, asked, IDENTITY_TOKENS),
                driver.say(made.stands_on, made.before(asked), IDENTITY_TOKENS),
                driver.say(made.stands_on, asked, IDENTITY_TOKENS),
            )
        )
    return judge_demonstrations(looks)


def judge_demonstrations(looks: Sequence[Look]) -> ProofResult:
    """As for a LoRA: near what is expected, away from what it stands on."""
    if not looks:
        return ProofResult(False, "no_probes")
    if not all(_finite(c) for look in looks for c in (look.shown, look.spelled, look.bare)):
        return ProofResult(False, "not_finite")
    near = _Agreement.of([_compare(k.spelled.token_ids, k.spelled.logprobs, k.shown) for k in looks])
    gap = max(_compare(k.bare.token_ids, k.bare.logprobs, k.shown, ties=False).gap for k in looks)
    numbers = near.numbers() | {"gap_to_base": min(gap, _SHOWN_MAX)}
    if gap < LEAST_EFFECT:
        return ProofResult(False, "no_effect", numbers)
    if near.gap > TOLERANCE:
        return ProofResult(False, "effect_differs", numbers)
    if near.compared < LEAST_SHARE * sum(len(k.spelled.token_ids) for k in looks):
        return ProofResult(False, "too_few_tokens_agree", numbers)
    return ProofResult(True, "proved", numbers)


def prove(driver: Completer, manifest: Manifest, base_name: str, probes: Sequence[Sequence[int]]) -> ProofResult:
    """Ask the replica. ``probes``: prompts (token ids) for the identity version. Raises DriverError."""
    if manifest.kind == "identity":
        result = ProofResult(False, "no_probes")
        for _ in range(IDENTITY_TRIES):
            pairs = [
                (driver.complete(manifest.version, p, IDENTITY_TOKENS), driver.complete(base_name, p, IDENTITY_TOKENS))
                for p in probes
            ]
            result = judge_identity(pairs)
            if result.ok:
                break
        return result
    found = [driver.complete(manifest.version, f.prompt_ids, len(f.expected_ids)) for f in manifest.fingerprint]
    return judge_lora(manifest.fingerprint, found)


def judge_identity(pairs: Sequence[tuple[Completion, Completion]]) -> ProofResult:
    """(under the identity version, under the base) for each probe: they must be equal."""
    if not pairs:
        return ProofResult(False, "no_probes")
    if not all(_finite(ours) and _finite(base) for ours, base in pairs):
        return ProofResult(False, "not_finite")
    found = [_compare(base.token_ids, base.logprobs, ours) for ours, base in pairs]
    whole = _Agreement.of(found)
    if whole.compared < LEAST_SHARE * sum(len(base.token_ids) for _, base in pairs):
        return ProofResult(False, "identity_changes_tokens", whole.numbers())
    ok = whole.gap <= TOLERANCE
    return ProofResult(ok, "proved" if ok else "identity_differs", whole.numbers())


def judge_lora(expected: Sequence[FingerprintItem], found: Sequence[Completion]) -> ProofResult:
    """Compare with the trainer's fingerprint: near the adapter's log-probabilities, away from the base's."""
    if not expected:
        return ProofResult(False, "no_fingerprint")
    if any(not _finite(c) for c in found):
        return ProofResult(False, "not_finite")
    pairs = list(zip(expected, found, strict=True))
    near = _Agreement.of([_compare(f.expected_ids, f.expected_logprobs, c) for f, c in pairs])
    # Without ties: where the base says another token, that is a difference, however small the lead was.
    base_gap = max(_compare(f.base_ids, f.base_logprobs, c, ties=False).gap for f, c in pairs)
    numbers = near.numbers() | {"gap_to_base": min(base_gap, _SHOWN_MAX)}
    if base_gap < LEAST_EFFECT:
        return ProofResult(False, "no_effect", numbers)
    if near.gap > TOLERANCE:
        return ProofResult(False, "effect_differs", numbers)
    if near.compared < LEAST_SHARE * sum(len(f.expected_ids) for f in expected):
        return ProofResult(False, "too_few_tokens_agree", numbers)
    return ProofResult(True, "proved", numbers)


_SHOWN_MAX: Final = 99.0


@dataclass(frozen=True, slots=True)
class _Agreement:
    """Largest gap (nats) over the tokens that were compared, and how many those were."""

    gap: float
    compared: int

    @classmethod
    def of(cls, parts: Sequence[_Agreement]) -> _Agreement:
        return cls(max(p.gap for p in parts), sum(p.compared for p in parts))

    def numbers(self) -> dict[str, float]:
        return {"gap": min(self.gap, _SHOWN_MAX), "compared": float(self.compared)}


def _compare(ids: Sequence[int], logs: Sequence[float], got: Completion, ties: bool = True) -> _Agreement:
    """Token by token up to the first difference, which is an infinite gap unless the two tokens were nearly tied.

    After a different token the two continue different texts, so nothing later can be compared.
    """
    gap = 0.0
    for i, (token, log) in enumerate(zip(ids, logs, strict=True)):
        if i >= len(got.token_ids):
            return _Agreement(math.inf, i)
        apart = abs(log - got.logprobs[i])
        if token != got.token_ids[i]:
            tied = ties and apart <= TOLERANCE and log < TIE_LOGPROB
            return _Agreement(gap if tied else math.inf, i)
        gap = max(gap, apart)
    return _Agreement(gap, len(ids))


def _finite(completion: Completion) -> bool:
    logs = completion.logprobs
    return bool(logs) and len(logs) == len(completion.token_ids) and all(math.isfinite(x) for x in logs)
