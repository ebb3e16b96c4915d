"""How unlike the reference a prompt is: the cosine distance to its nearest reference prompts, over hashed n-grams.

Nothing about the new traffic has to be learned first, so one strange prompt in ten is told from the reference's own
spread after few of them. The score is the one of nearest-neighbour novelty detection (Ramaswamy, Rastogi and Shim,
SIGMOD 2000, the mean over k neighbours); grams that the reference has never seen weigh most and match nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitors.features import BUCKETS, Array

NEIGHBOURS = 3
"""Neighbours whose similarity is averaged: one alone makes every repeated prompt look perfectly known."""
MOST = 1_500
"""Reference prompts that are compared with: 30 microseconds an event; more of them gain two points of AUC."""
_DENSE = 0.03
"""Grams in more than this share of the prompts lie in full rows, rarer ones in lists of the prompts that hold them."""

Grams = NDArray[np.int64]


class Nearest:
    """Immutable after construction; ``scores`` are those of the reference prompts, their own sessions left out."""

    def __init__(self, reference: Sequence[Grams], sessions: Sequence[str]) -> None:
        """``reference``: distinct buckets of each prompt, none empty. Every k-th is kept when there are too many."""
        kept = range(0, len(reference), -(-max(len(reference), 1) // MOST))
        grams, names = [reference[i] for i in kept], [sessions[i] for i in kept]
        self.sessions: Sequence[str] = names
        self.positions: Sequence[int] = kept
        """Which of the reference's prompts were kept."""
        self._size = len(grams)
        flat = np.concatenate(grams) if grams else np.zeros(0, dtype=np.int64)
        frequency = np.bincount(flat, minlength=BUCKETS).astype(np.float64)
        self._idf = (np.log((1.0 + self._size) / (1.0 + frequency)) + 1.0).astype(np.float32)
        self._index(grams, flat, frequency)
        members: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            members.setdefault(name, []).append(row)
        self.scores: Array = np.array([self._score(g, members[n]) for g, n in zip(grams, names, strict=True)])
        self._sorted = np.sort(self.scores)

    def _index(self, grams: Sequence[Grams], flat: Grams, frequency: Array) -> None:
        """Rows of the common grams, and for each rare gram the prompts that hold it."""
        owner = np.repeat(np.arange(self._size), [len(g) for g in grams])
        norms = np.array([math.sqrt(float(self._idf[g] @ self._idf[g])) for g in grams])
        values = (self._idf[flat] / norms[owner] if self._size else np.zeros(0)).astype(np.float32)
        common = frequency > max(_DENSE * self._size, 1.0)
        self._row_of = np.where(common, np.cumsum(common) - 1, -1)
        self._rows = np.zeros((int(common.sum()), self._size), dtype=np.float32)
        dense = common[flat]
        self._rows[self._row_of[flat[dense]], owner[dense]] = values[dense]
        rare = ~dense
        order = np.argsort(flat[rare], kind="stable")
        self._holders, self._weights = owner[rare][order], values[rare][order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(flat[rare], minlength=BUCKETS))])

    def rank(self, found: Grams) -> float:
        """Share of the reference that is less strange than the prompt, in [0, 1); equally strange ones do not count.

        Uniform at most for traffic like the reference, whatever ties there are: a rank never overstates.
        """
        return ranked(self._sorted, self.score(found))

    def score(self, found: Grams) -> float:
        """Minus the mean similarity to the nearest reference prompts."""
        return self._score(found, None)

    def _score(self, found: Grams, without: list[int] | None) -> float:
        """Minus the mean similarity to the nearest prompts, those at ``without`` left out."""
        similar = self._similarities(found)
        if without is not None:
            similar[without] = -1.0
        k = min(NEIGHBOURS, self._size)
        return -float(np.partition(similar, self._size - k)[self._size - k :].mean())

    def _similarities(self, found: Grams) -> NDArray[np.float32]:
        """Cosine to each reference prompt, shape (n,)."""
        weight, row = self._idf[found], self._row_of[found]
        dense = row >= 0
        similar = weight[dense] @ self._rows[row[dense]]
        rare = found[~dense]
        begin = self._starts[rare]
        lengths = self._starts[rare + 1] - begin
        ends = np.cumsum(lengths)
        if len(rare) and ends[-1]:
            at: Grams = np.arange(int(ends[-1])) + np.repeat(begin - (ends - lengths), lengths)
            shared = self._weights[at] * np.repeat(weight[~dense], lengths)
            similar = similar + np.bincount(self._holders[at], weights=shared, minlength=self._size)
        return similar / np.float32(math.sqrt(float(weight @ weight)))


def ranked(ordered: Array, score: float) -> float:
    """Share of ``ordered`` (ascending) that lies below the score; what is equal up to rounding lies not below."""
    return int(np.searchsorted(ordered, score - 1e-6, "left")) / (len(ordered) + 1)
