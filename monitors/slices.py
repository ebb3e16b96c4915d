# pyright: basic
"""Learning which prompts an alarm is about, from a window that mixes them with old traffic.

Logistic regression on hashed n-grams from positive and unlabelled data: the reference is old; a window prompt is new
with a probability that is estimated in rounds. In each round all scores are held out (4 folds by session); the ratio of
the reference's score density to the window's (isotonic regression) gives each window prompt's probability to be new,
1 - (1 - share) * ratio, as in Elkan and Noto, "Learning classifiers from only positive and unlabeled data", KDD 2008.
The threshold is the held-out reference score that only ``outside_share`` of the reference exceeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.alarms import SliceModel
from monitors.gram_rows import gram_rows
from monitors.grams import bucket, hashed, word_grams, words

BUCKETS = 1 << 15
_FOLDS = 4
_ROUNDS = 3
_INVERSE_PENALTY = 10.0
_MOST_WEIGHTS = 12_000
"""Weights kept in the model, the largest first: bounds what a ledger row can cost."""
_TERMS = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BuiltSlice:
    """A slice and what was seen while it was learned."""

    model: SliceModel
    share: float
    """Estimated share of new prompts in the window."""


def build_slice(
    reference: Sequence[str],
    window: Sequence[str],
    seed: int,
    outside_share: float = 0.03,
    sessions: tuple[Sequence[str], Sequence[str]] | None = None,
) -> BuiltSlice | None:
    """Learn a slice; None when there is too little of either side (20 texts with words).

    ``sessions``: session keys of the reference and of the window, so that folds do not cut sessions in two.
    """
    if min(len(reference), len(window)) < 20:
        return None
    rng = np.random.default_rng(seed)
    matrix = gram_matrix([*reference, *window])
    keys = [*sessions[0], *sessions[1]] if sessions else [str(i) for i in range(matrix.shape[0])]
    folds = _fold(keys, rng)
    n = len(reference)
    new = np.ones(len(window))
    share, threshold = 0.0, math.inf
    for _ in range(_ROUNDS):
        held_out = _held_out(matrix, n, new, folds)
        threshold = float(np.quantile(held_out[:n], 1.0 - outside_share))
        above = float((held_out[n:] > threshold).mean())
        share = max(0.0, (above - outside_share) / (1.0 - outside_share))
        new = _probability_new(held_out[:n], held_out[n:], share)
        if new.sum() < 5.0:
            return None
    model = _fit(matrix, n, new, np.arange(matrix.shape[0]))
    return BuiltSlice(_model(model, threshold, window, new), share)


def gram_matrix(texts: Sequence[str]) -> Any:
    """Sparse rows of hashed n-grams, each of length one, shape (n, BUCKETS)."""
    return gram_rows([hashed(text, BUCKETS) for text in texts], BUCKETS)


def logistic(matrix: Any, labels: Floats, weights: Floats) -> Any:
    """A fitted logistic regression (scikit-learn, deterministic)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_INVERSE_PENALTY, solver="liblinear", max_iter=200, random_state=0)
    return model.fit(matrix, labels, sample_weight=weights)


def _fold(keys: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """Fold of each text; texts of one session share theirs."""
    of = {key: int(rng.integers(_FOLDS)) for key in dict.fromkeys(keys)}
    return np.array([of[key] for key in keys])


def _held_out(matrix: Any, n: int, new: Floats, folds: NDArray[np.int64]) -> Floats:
    """Score of each text by a model that has not seen its fold."""
    scores = np.zeros(matrix.shape[0])
    for fold in range(_FOLDS):
        inside = np.flatnonzero(folds != fold)
        outside = np.flatnonzero(folds == fold)
        if len(outside):
            scores[outside] = _fit(matrix, n, new, inside).decision_function(matrix[outside])
    return scores


def _fit(matrix: Any, n: int, new: Floats, rows: NDArray[np.int64]) -> Any:
    """Reference rows are old; each window row counts as new and as old by its probability; classes are balanced."""
    from scipy.sparse import vstack

    old, window = rows[rows < n], rows[rows >= n]
    p = new[window - n]
    positive, negative = window[p > 1e-6], window[p < 1.0 - 1e-6]
    weight_old = np.concatenate([np.ones(len(old)), 1.0 - p[p < 1.0 - 1e-6]])
    weight_new = p[p > 1e-6]
    weight_new = weight_new * (weight_old.sum() / max(weight_new.sum(), 1e-9))
    stacked = vstack([matrix[old], matrix[negative], matrix[positive]])
    labels = np.concatenate([np.zeros(len(weight_old)), np.ones(len(weight_new))])
    return logistic(stacked, labels, np.concatenate([weight_old, weight_new]))


def _probability_new(old: Floats, window: Floats, share: float) -> Floats:
    """Probability that each window text is new, from held-out scores."""
    from sklearn.isotonic import IsotonicRegression

    scores = np.concatenate([old, window])
    labels = np.concatenate([np.zeros(len(old)), np.ones(len(window))])
    weights = np.concatenate([np.full(len(old), 1.0 / len(old)), np.full(len(window), 1.0 / len(window))])
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, labels, sample_weight=weights)
    p = np.clip(fitted.predict(window), 1e-6, 1.0 - 1e-6)
    return np.clip(1.0 - (1.0 - share) * (1.0 - p) / p, 0.0, 1.0)


def _model(fitted: Any, threshold: float, window: Sequence[str], new: Floats) -> SliceModel:
    coefficients = fitted.coef_[0]
    largest = np.argsort(-np.abs(coefficients), kind="stable")[:_MOST_WEIGHTS]
    weights = {int(i): round(float(coefficients[i]), 4) for i in sorted(largest) if abs(coefficients[i]) >= 1e-4}
    return SliceModel(
        buckets=BUCKETS,
        weights=weights,
        bias=float(fitted.intercept_[0]),
        threshold=threshold,
        terms=tuple(_terms(window, new, coefficients)),
    )


def _terms(window: Sequence[str], new: Floats, coefficients: Floats) -> list[str]:
    """Words of the likely-new texts with the largest weight times how many of those texts they occur in."""
    spread: dict[str, float] = {}
    for text, p in zip(window, new, strict=True):
        for gram in set(word_grams(words(text))):
            if "\x02" not in gram:
                spread[gram] = spread.get(gram, 0.0) + float(p)
    value = {gram: math.sqrt(mass) * float(coefficients[bucket(gram, BUCKETS)]) for gram, mass in spread.items()}
    return sorted(value, key=lambda gram: (-value[gram], gram))[:_TERMS]
