# pyright: basic
"""A second, independent look at a suspicion before anything is trained.

A domain classifier learns the traffic before the suspicion against most of the reference; it is then tried on fresh
traffic against the rest of it (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017). No session is
on both sides, and the permutation test shuffles whole sessions: the prompts of one session are alike. Where the
reference is long enough, the evening is compared with evenings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.alarms import SliceModel
from monitors.detectors.blocks import HOUR_S
from monitors.slices import build_slice, gram_matrix, logistic

_PERMUTATIONS = 4000
"""Smallest p-value that can come out: 1 in 4,001."""
_TRAIN_SHARE = 0.8
"""Share of the reference's sessions that are learned; fresh traffic is ranked among the others."""
_LEAST = 16
"""Texts with words that each side needs."""
_LEAST_ALIKE = 160
"""Reference prompts that the hours of the suspicion must hold, or all hours are compared with."""
_WEEK, _DAY = 168, 24


@dataclass(frozen=True, slots=True)
class Seen:
    """What the watch keeps of an exchange."""

    text: str
    session: str
    surprisal: float | None = None
    at: float | None = None
    """When it was asked, seconds since the epoch; None where nobody knows."""

    def row(self) -> list[Any]:
        """JSON-able form; ``Seen(*row)`` is its inverse."""
        return [self.text, self.session, self.surprisal, self.at]


@dataclass(frozen=True)
class Confirmation:
    """Outcome of the second look."""

    auc: float
    """Chance that a fresh prompt scores above a reference prompt; .5 is chance."""
    p_value: float
    share: float
    """Estimated share of new prompts in the window; 0 without a slice."""
    top_terms: tuple[str, ...]
    fresh: int
    """Fresh prompts that were tried."""
    slice: SliceModel | None


NOT_CONFIRMED = Confirmation(auc=0.5, p_value=1.0, share=0.0, top_terms=(), fresh=0, slice=None)


def confirm(
    reference: Sequence[Seen], before: Sequence[Seen], fresh: Sequence[Seen], seed: int, alpha: float
) -> Confirmation:
    """Judge a suspicion; the slice is learned from ``before`` and ``fresh`` together when ``p_value <= alpha``.

    ``before``: traffic up to the suspicion; ``fresh``: what came after it. Too little of anything is not confirmed.
    """
    rng = np.random.default_rng(seed)
    alike = _same_hours(reference, [*before, *fresh])
    live = {s.session for s in fresh}
    learned = [s for s in before if s.session not in live]
    known = {s.session for s in (*fresh, *before)}
    keys = sorted({s.session for s in alike})
    rng.shuffle(keys)
    trained_on = set(keys[: int(_TRAIN_SHARE * len(keys))])
    train = [s for s in alike if s.session in trained_on and s.session not in live]
    held = [s for s in alike if s.session not in trained_on and s.session not in known]
    if min(len(train), len(held), len(learned), len(fresh)) < _LEAST:
        return NOT_CONFIRMED
    matrix = gram_matrix([s.text for s in (*train, *learned)])
    labels = np.concatenate([np.zeros(len(train)), np.ones(len(learned))])
    weights = np.where(labels > 0, len(train) / len(learned), 1.0)
    fitted = logistic(matrix, labels, weights)
    tried = [*held, *fresh]
    scores = fitted.decision_function(gram_matrix([s.text for s in tried]))
    ranks = _ranks(scores)
    sessions = [*(f"r{s.session}" for s in held), *(f"f{s.session}" for s in fresh)]
    auc = _auc(ranks, len(held))
    p_value = _permuted(ranks, sessions, len(held), rng)
    if p_value > alpha:
        return Confirmation(auc, p_value, 0.0, (), len(fresh), None)
    window = [*before, *fresh]
    built = build_slice(
        [s.text for s in reference],
        [s.text for s in window],
        seed,
        sessions=([f"r{s.session}" for s in reference], [s.session for s in window]),
    )
    if built is None:
        return Confirmation(auc, p_value, 0.0, (), len(fresh), None)
    return Confirmation(auc, p_value, built.share, built.model.terms, len(fresh), built.model)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties in the middle."""
    from scipy.stats import rankdata

    return rankdata(scores)


def _auc(ranks: NDArray[np.float64], held: int) -> float:
    fresh = len(ranks) - held
    return float((ranks[held:].sum() - fresh * (fresh + 1) / 2.0) / (fresh * held))


def _permuted(ranks: NDArray[np.float64], sessions: Sequence[str], held: int, rng: np.random.Generator) -> float:
    """One-sided p-value of the fresh texts' mean rank when whole sessions are dealt anew."""
    index = {key: i for i, key in enumerate(dict.fromkeys(sessions))}
    member = np.array([index[key] for key in sessions])
    sums = np.bincount(member, weights=ranks)
    counts = np.bincount(member).astype(np.float64)
    fresh_sessions = len({index[key] for key in sessions[held:]})
    observed = float(ranks[held:].mean())
    reached = 0
    for _ in range(_PERMUTATIONS):
        drawn = rng.choice(len(sums), fresh_sessions, replace=False, shuffle=False)
        reached += float(sums[drawn].sum() / counts[drawn].sum()) >= observed - 1e-12
    return (1.0 + reached) / (1.0 + _PERMUTATIONS)


def _same_hours(reference: Sequence[Seen], now: Sequence[Seen]) -> Sequence[Seen]:
    """Reference prompts of the hours of the week of ``now``, or of its hours of the day, else all; one hour about."""
    for cycle in (_WEEK, _DAY):
        hours = {(hour + off) % cycle for one in now for hour in _hour(one, cycle) for off in (-1, 0, 1)}
        alike = [one for one in reference if hours.intersection(_hour(one, cycle))]
        if len(alike) >= _LEAST_ALIKE:
            return alike
    return reference


def _hour(one: Seen, cycle: int) -> list[int]:
    return [int(one.at // HOUR_S) % cycle] if one.at is not None else []
