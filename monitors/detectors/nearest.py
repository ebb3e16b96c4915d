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
        self._list_rare(flat[~dense], owner[~dense], values[~dense])

    def _list_rare(self, flat: Grams, owner: Grams, values: NDArray[np.float32]) -> None:
        """The prompts that hold each rare gram, in lists of one width: what is missing weighs nothing.

        ``_row_of`` of a rare gram is -2 minus its list, of one that no prompt holds -1.
        """
        order = np.argsort(flat, kind="stable")
        rare, first, held = np.unique(flat[order], return_index=True, return_counts=True)
        self._row_of[rare] = -2 - np.arange(len(rare))
        at = (np.repeat(np.arange(len(rare)), held), np.arange(len(flat)) - np.repeat(first, held))
        width = int(held.max()) if len(rare) else 0
        self._holders = np.zeros((len(rare), width), dtype=np.int64)
        self._shares = np.zeros((len(rare), width))
        self._holders[at] = owner[order]
        self._shares[at] = values[order] * self._idf[flat[order]]

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
        weight = self._idf.take(found)
        similar = self._products(weight, self._row_of.take(found))
        norm = math.sqrt(float(weight @ weight))
        if without is not None:
            similar[without] = -norm
        left = self._size - min(NEIGHBOURS, self._size)
        similar.partition(left)
        nearest: list[float] = similar[left:].tolist()
        return -math.fsum(nearest) / len(nearest) / norm

    def _products(self, weight: NDArray[np.float32], row: Grams) -> Array:
        """Scalar product with each reference prompt, each of length one, shape (n,)."""
        dense = row >= 0
        similar = weight[dense] @ self._rows.take(row[dense], axis=0)
        rare = -2 - row[row < -1]
        if not len(rare):
            return similar.astype(np.float64)
        holders, shares = self._holders.take(rare, axis=0), self._shares.take(rare, axis=0)
        rest = np.bincount(holders.ravel(), weights=shares.ravel(), minlength=self._size)
        return (similar + rest).astype(np.float64, copy=False)


def ranked(ordered: Array, score: float) -> float:
    """Share of ``ordered`` (ascending) that lies below the score; what is equal up to rounding lies not below."""
    return int(ordered.searchsorted(score - 1e-6)) / (len(ordered) + 1)
