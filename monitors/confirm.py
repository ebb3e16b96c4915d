# pyright: basic
"""A second, independent look at a suspicion before anything is trained.

A domain classifier learns the traffic before the suspicion against most of the reference; it is then tried on fresh
traffic against the rest of it (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017). No session is
on both sides, and the permutation test shuffles whole sessions: the prompts of one session are alike. Beside
it the novelty of the same fresh prompts is tested, which needs no learning: either confirms, at half the level. Few
strange prompts among many usual ones hardly move a mean rank, so novelty is summed by a score that grows towards the
end of the ranks (Johnson, Verrill and Moore, "Two-sample rank tests for detecting changes that occur in a small
proportion of the treated population", Biometrics 1987). Where the reference is long enough, the evening is compared
with evenings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.detectors.blocks import HOUR_S
from monitors.slices import gram_matrix, logistic

_PERMUTATIONS = 5000
"""Smallest p-value that can come out: 2 in 5,001."""
_REACHED = 50
"""Permutations that reach what was observed, after which no more are drawn: quiet traffic needs a hundred of them, and
the p-value stays exact (Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 1991)."""
_TRAIN_SHARE = 0.8
"""Share of the reference's sessions that are learned; fresh traffic is ranked among the others."""
_LEAST = 16
"""Texts with words that each side needs."""
_TAIL = 0.03
"""Share of new prompts times what one says for a drift: the likelihood ratio of a prompt is about 1 + this / (1 - u) at
rank u. Made for a tenth of new prompts, where it confirms ten times as often as mean ranks do; at half of the traffic,
for which .1 would be right, it loses little."""
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
    """Chance that a fresh prompt scores above a reference prompt, by the test that decided; .5 is chance. A tenth of
    strange prompts moves it by a twentieth at most, however sure the test is."""
    test: str
    """Which decided: ``classifier``, or ``novelty``, the distance to the nearest reference prompts."""
    p_value: float
    """Twice the smaller of the two tests', at most 1."""
    fresh: int
    """Fresh prompts that were tried."""


NOT_CONFIRMED = Confirmation(auc=0.5, test="none", p_value=1.0, fresh=0)


@dataclass(frozen=True)
class Strangeness:
    """Novelty scores (``Nearest``): of reference prompts, each left out, and of all prompts since the suspicion.

    Novelty is not learned from them, so that each look may count what earlier ones have seen.
    """

    known: Sequence[Seen]
    known_scores: Sequence[float]
    since: Sequence[Seen]
    since_scores: Sequence[float]


def confirm(
    reference: Sequence[Seen],
    before: Sequence[Seen],
    fresh: Sequence[Seen],
    strangeness: Strangeness,
    seed: int,
    alpha: float,
    grams: Any = None,
) -> Confirmation:
    """Judge a suspicion: confirmed when ``p_value <= alpha``. Too little of anything is not confirmed.

    ``before``: traffic up to the suspicion; ``fresh``: what came after it; ``grams``: ``gram_matrix`` of the reference,
    for looks that share one.
    """
    rng = np.random.default_rng(seed)
    if len(fresh) < _LEAST:
        return NOT_CONFIRMED
    hours = [*before, *fresh]
    novelty_auc, p_novelty = _novelty(strangeness, hours, rng)
    auc, p_classifier = 0.5, 1.0
    if len(reference):
        rows = gram_matrix([s.text for s in reference]) if grams is None else grams
        alike = _same_hours(reference, hours)
        known = [reference[i] for i in alike]
        auc, p_classifier = _classifier(known, rows[alike], before, fresh, rng, 2.0 * p_novelty > alpha)
    if p_novelty <= p_classifier:
        return Confirmation(novelty_auc, "novelty", min(2.0 * p_novelty, 1.0), len(strangeness.since))
    return Confirmation(auc, "classifier", min(2.0 * p_classifier, 1.0), len(fresh))


def _novelty(found: Strangeness, hours: Sequence[Seen], rng: np.random.Generator) -> tuple[float, float]:
    """AUC and p-value of the distances to the reference of what came since the suspicion."""
    live = {s.session for s in found.since}
    alike = ((found.known[i], found.known_scores[i]) for i in _same_hours(found.known, hours))
    kept = [(one, score) for one, score in alike if one.session not in live]
    if len(kept) < _LEAST:
        return 0.5, 1.0
    scores = np.array([*(score for _, score in kept), *found.since_scores], dtype=np.float64)
    ranks = _ranks(np.round(scores, 6))
    sessions = [*(f"r{one.session}" for one, _ in kept), *(f"f{one.session}" for one in found.since)]
    return _auc(ranks, len(kept)), _permuted(_tail(ranks), sessions, len(kept), rng)


def _classifier(
    reference: Sequence[Seen],
    grams: Any,
    before: Sequence[Seen],
    fresh: Sequence[Seen],
    rng: np.random.Generator,
    test: bool,
) -> tuple[float, float]:
    """AUC and, where ``test``, p-value of a classifier that learned ``before`` against most of the reference, of which
    ``grams`` are the rows.
    """
    from scipy.sparse import vstack

    live = {s.session for s in fresh}
    learned = [s for s in before if s.session not in live]
    known = {s.session for s in (*fresh, *before)}
    keys = sorted({s.session for s in reference})
    rng.shuffle(keys)
    trained_on = set(keys[: int(_TRAIN_SHARE * len(keys))])
    train = [i for i, s in enumerate(reference) if s.session in trained_on and s.session not in live]
    held = [i for i, s in enumerate(reference) if s.session not in trained_on and s.session not in known]
    if min(len(train), len(held), len(learned)) < _LEAST:
        return 0.5, 1.0
    matrix = vstack([grams[train], gram_matrix([s.text for s in learned])])
    labels = np.concatenate([np.zeros(len(train)), np.ones(len(learned))])
    weights = np.where(labels > 0, len(train) / len(learned), 1.0)
    fitted = logistic(matrix, labels, weights)
    ranks = _ranks(fitted.decision_function(vstack([grams[held], gram_matrix([s.text for s in fresh])])))
    sessions = [*(f"r{reference[i].session}" for i in held), *(f"f{s.session}" for s in fresh)]
    return _auc(ranks, len(held)), _permuted(ranks, sessions, len(held), rng) if test else 1.0


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties in the middle."""
    from scipy.stats import rankdata

    return rankdata(scores)


def _auc(ranks: NDArray[np.float64], held: int) -> float:
    fresh = len(ranks) - held
    return float((ranks[held:].sum() - fresh * (fresh + 1) / 2.0) / (fresh * held))


def _tail(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of what each rank says for a few strange prompts among many usual ones."""
    return np.log1p(_TAIL * len(ranks) / (len(ranks) + 0.5 - ranks))


def _permuted(scores: NDArray[np.float64], sessions: Sequence[str], held: int, rng: np.random.Generator) -> float:
    """One-sided p-value of the fresh texts' mean score when whole sessions are dealt anew."""
    index = {key: i for i, key in enumerate(dict.fromkeys(sessions))}
    member = np.array([index[key] for key in sessions])
    sums = np.bincount(member, weights=scores)
    counts = np.bincount(member).astype(np.float64)
    fresh_sessions = len({index[key] for key in sessions[held:]})
    observed = float(scores[held:].mean())
    reached = 0
    for tried in range(1, _PERMUTATIONS + 1):
        drawn = rng.choice(len(sums), fresh_sessions, replace=False, shuffle=False)
        reached += float(sums[drawn].sum() / counts[drawn].sum()) >= observed - 1e-12
        if reached == _REACHED:
            return reached / tried
    return (1.0 + reached) / (1.0 + _PERMUTATIONS)


def _same_hours(reference: Sequence[Seen], now: Sequence[Seen]) -> list[int]:
    """Which reference prompts are of the hours of the week of ``now``, or of its hours of the day, else all; one hour
    about.
    """
    for cycle in (_WEEK, _DAY):
        hours = {(hour + off) % cycle for one in now for hour in _hour(one, cycle) for off in (-1, 0, 1)}
        alike = [i for i, one in enumerate(reference) if hours.intersection(_hour(one, cycle))]
        if len(alike) >= _LEAST_ALIKE:
            return alike
    return list(range(len(reference)))


def _hour(one: Seen, cycle: int) -> list[int]:
    return [int(one.at // HOUR_S) % cycle] if one.at is not None else []
