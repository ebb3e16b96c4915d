"""The gate: what a version must show offline, paired against the champion, before it may see traffic.

A pure decision. Every check is listed with its numbers whatever the outcome, and the verdict names one reason:
the first failing check in the order old, new, behaviour, nll; else what was missing; else ``passed``. Missing or
unusable evidence never passes; too few pairs fail where their upper bound is already below the margin.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from monitors.paired import lower_bound

Verdict = Literal["pass", "fail", "inconclusive", "error"]
Cause = Literal["alarm", "manual"]


class GateReason(StrEnum):
    """Why the gate decided as it did."""

    PASSED = "passed"
    OLD_DESKS_WORSE = "old_desks_worse"
    NEW_DESK_NOT_BETTER = "new_desk_not_better"
    NEW_DESK_WORSE = "new_desk_worse"
    BEHAVIOUR_SHIFT = "behaviour_shift"
    NLL_NOT_FINITE = "nll_not_finite"
    NLL_WORSE = "nll_worse"
    TOO_FEW_OLD = "too_few_old"
    TOO_FEW_NEW = "too_few_new"
    MISSING_EVIDENCE = "missing_evidence"
    INVALID_EVIDENCE = "invalid_evidence"


class Frozen(BaseModel):
    """Immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GateConfig(Frozen):
    """Bounds and margins of the gate; accuracies and shares are fractions."""

    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """One-sided error of each bound: 95 % bounds."""
    min_old: Annotated[int, Field(ge=1)] = 1000
    """Old-traffic pairs below which the gate is inconclusive: with 1 % discordant pairs it resolves 0.6 points."""
    min_new: Annotated[int, Field(ge=1)] = 300
    """New-traffic pairs below which the gate is inconclusive."""
    old_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02
    """Largest loss on old traffic that may not be excluded: the two points that the project promises."""
    new_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Smallest gain on the alarm's traffic that must be shown when an alarm is the cause (0: any gain)."""
    manual_new_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02
    """Largest loss on the newest traffic when a person asked for the version."""
    length_ratio: Annotated[float, Field(gt=1.0)] = 2.0
    """Mean reply length on old prompts may grow or shrink by this factor."""
    empty_margin: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """How much larger the share of empty replies on old prompts may be."""
    distinct_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Smallest ratio of distinct replies on old prompts, candidate to champion: collapse onto a few answers."""
    nll_margin: Annotated[float, Field(ge=0.0)] = 0.5
    """How much larger (nats per token) the loss on the champion's own recorded replies may be: a sanity bound."""


class PairedCounts(Frozen):
    """Pairs of 0/1 outcomes on the same prompts."""

    both: int = 0
    champion_only: int = 0
    candidate_only: int = 0
    neither: int = 0

    @classmethod
    def of(cls, pairs: list[tuple[bool, bool]]) -> PairedCounts:
        """Counts from (champion right, candidate right) pairs."""
        return cls(
            both=sum(a and b for a, b in pairs),
            champion_only=sum(a and not b for a, b in pairs),
            candidate_only=sum(b and not a for a, b in pairs),
            neither=sum(not a and not b for a, b in pairs),
        )

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.both + self.champion_only + self.candidate_only + self.neither

    @property
    def difference(self) -> float:
        """Candidate's accuracy minus the champion's; 0 without pairs."""
        return (self.candidate_only - self.champion_only) / self.n if self.n else 0.0

    @property
    def valid(self) -> bool:
        """No negative count."""
        return min(self.both, self.champion_only, self.candidate_only, self.neither) >= 0


class ReplyMix(Frozen):
    """How one version replies to the old prompts."""

    n: int
    mean_length: float
    """Characters."""
    empty: int
    distinct: int
    """Number of distinct replies."""

    @classmethod
    def of(cls, replies: list[str]) -> ReplyMix:
        """Mix of a list of replies."""
        stripped = [r.strip() for r in replies]
        mean = sum(map(len, stripped)) / len(stripped) if stripped else 0.0
        return cls(n=len(stripped), mean_length=mean, empty=stripped.count(""), distinct=len(set(stripped)))

    @property
    def valid(self) -> bool:
        """Finite and consistent."""
        return math.isfinite(self.mean_length) and self.mean_length >= 0 and 0 <= self.empty <= self.n and self.n >= 0


class Behaviour(Frozen):
    """Reply mixes on the same old prompts."""

    champion: ReplyMix
    candidate: ReplyMix


class Nll(Frozen):
    """Mean negative log-likelihood (nats per token) of the champion's recorded replies on old prompts."""

    champion: float
    candidate: float


class GateEvidence(Frozen):
    """What was measured. None: not measured, which never passes."""

    cause: Cause
    old: PairedCounts | None = None
    new: PairedCounts | None = None
    behaviour: Behaviour | None = None
    nll: Nll | None = None
    trained: bool = True
    """False: no weight is new (demonstrations), so there is no loss that could be broken, and none is asked for."""


class Check(Frozen):
    """One line of the result; ``ok`` is None where there was too little to judge by."""

    name: str
    reason: GateReason
    """The reason that the verdict gets when this check decides it."""
    n: int
    estimate: float | None
    bound: float | None
    margin: float
    ok: bool | None


class GateResult(Frozen):
    """The verdict, its reason and every check."""

    verdict: Verdict
    reason: GateReason
    checks: tuple[Check, ...]


def decide(evidence: GateEvidence, config: GateConfig) -> GateResult:
    """Judge a candidate. Never raises; a failing gate names why and lists all checks."""
    if not _valid(evidence):
        return GateResult(verdict="error", reason=GateReason.INVALID_EVIDENCE, checks=())
    checks = (
        _old(evidence.old, config),
        _new(evidence.new, evidence.cause, config),
        *_behaviour(evidence.behaviour, config),
        *((_nll(evidence.nll, config),) if evidence.trained else ()),
    )
    for check in checks:
        if check.ok is False:
            return GateResult(verdict="fail", reason=check.reason, checks=checks)
    for check in checks:
        if check.ok is None:
            reason = _lack(check)
            return GateResult(verdict="inconclusive", reason=reason, checks=checks)
    return GateResult(verdict="pass", reason=GateReason.PASSED, checks=checks)


def _valid(evidence: GateEvidence) -> bool:
    pairs = [p for p in (evidence.old, evidence.new) if p is not None]
    mixes = [evidence.behaviour.champion, evidence.behaviour.candidate] if evidence.behaviour else []
    return all(p.valid for p in pairs) and all(m.valid for m in mixes)


def _lack(check: Check) -> GateReason:
    """What was missing, from a check that could not be judged."""
    if check.n > 0 and check.name == "old":
        return GateReason.TOO_FEW_OLD
    if check.n > 0 and check.name == "new":
        return GateReason.TOO_FEW_NEW
    return GateReason.MISSING_EVIDENCE


def _old(pairs: PairedCounts | None, config: GateConfig) -> Check:
    """Non-inferiority on old traffic."""
    return _paired("old", GateReason.OLD_DESKS_WORSE, pairs, config.min_old, -config.old_margin, config.alpha)


def _new(pairs: PairedCounts | None, cause: Cause, config: GateConfig) -> Check:
    """Superiority on the alarm's traffic; non-inferiority on the newest traffic when a person asked."""
    if cause == "alarm":
        margin, reason = config.new_margin, GateReason.NEW_DESK_NOT_BETTER
    else:
        margin, reason = -config.manual_new_margin, GateReason.NEW_DESK_WORSE
    return _paired("new", reason, pairs, config.min_new, margin, config.alpha)


def _paired(
    name: str, reason: GateReason, pairs: PairedCounts | None, least: int, margin: float, alpha: float
) -> Check:
    """The lower bound of candidate minus champion must lie above ``margin``."""
    if pairs is None or pairs.n == 0:
        return Check(name=name, reason=reason, n=0, estimate=None, bound=None, margin=margin, ok=None)
    bound = lower_bound(pairs.n, pairs.candidate_only, pairs.champion_only, alpha)
    ok = bound > margin
    if pairs.n < least:  # too few to pass; enough to fail when even the upper bound is below the margin
        ok = False if surely_below(pairs, margin, alpha) else None
    return Check(name=name, reason=reason, n=pairs.n, estimate=pairs.difference, bound=bound, margin=margin, ok=ok)


def surely_below(pairs: PairedCounts, margin: float, alpha: float) -> bool:
    """Whether the upper bound of candidate minus champion is below ``margin``: more pairs will not save it."""
    return pairs.n > 0 and -lower_bound(pairs.n, pairs.champion_only, pairs.candidate_only, alpha) < margin


def _behaviour(mix: Behaviour | None, config: GateConfig) -> tuple[Check, Check, Check]:
    """Length, empty replies and collapse; point estimates, since the margins are far from sampling noise."""
    shift = GateReason.BEHAVIOUR_SHIFT
    names = ("reply_length", "empty_replies", "distinct_replies")
    margins = (config.length_ratio, config.empty_margin, config.distinct_ratio)
    n = 0 if mix is None else min(mix.champion.n, mix.candidate.n)
    if mix is None or n == 0:
        length, empty, distinct = (
            Check(name=name, reason=shift, n=0, estimate=None, bound=None, margin=margin, ok=None)
            for name, margin in zip(names, margins, strict=True)
        )
        return length, empty, distinct
    ratio = (mix.candidate.mean_length + 1.0) / (mix.champion.mean_length + 1.0)
    more_empty = mix.candidate.empty / mix.candidate.n - mix.champion.empty / mix.champion.n
    variety = mix.candidate.distinct / max(mix.champion.distinct, 1)
    found = (
        (ratio, max(ratio, 1.0 / ratio), max(ratio, 1.0 / ratio) <= config.length_ratio),
        (more_empty, more_empty, more_empty <= config.empty_margin),
        (variety, variety, variety >= config.distinct_ratio),
    )
    length, empty, distinct = (
        Check(name=name, reason=shift, n=n, estimate=estimate, bound=bound, margin=margin, ok=ok)
        for name, margin, (estimate, bound, ok) in zip(names, margins, found, strict=True)
    )
    return length, empty, distinct


def _nll(nll: Nll | None, config: GateConfig) -> Check:
    """A broken adapter shows here at once: NaN, or far less likely to say what the champion said."""
    worse, broken = GateReason.NLL_WORSE, GateReason.NLL_NOT_FINITE
    if nll is None:
        return Check(name="nll", reason=worse, n=0, estimate=None, bound=None, margin=config.nll_margin, ok=None)
    if not (math.isfinite(nll.champion) and math.isfinite(nll.candidate)):
        return Check(name="nll", reason=broken, n=1, estimate=None, bound=None, margin=config.nll_margin, ok=False)
    rise = nll.candidate - nll.champion
    ok = rise <= config.nll_margin
    return Check(name="nll", reason=worse, n=1, estimate=rise, bound=rise, margin=config.nll_margin, ok=ok)
