# pyright: basic
"""What the detectors are compared with: river's ADWIN and KSWIN on scalars, and online maximum mean discrepancy.

KSWIN's statistic (the newest 30 of 100 values against 30 drawn from the 70 before) is computed for all positions at
once: river's own takes milliseconds an event. The MMD is the unbiased estimate between the newest W embeddings and the
reference with a Gaussian kernel (Gretton et al., "A kernel two-sample test", JMLR 2012), after every event.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN
from scipy.spatial.distance import pdist
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

WINDOWS = (50, 100, 200)
DELTAS = (0.3, 0.1, 0.03, 0.01, 0.005, 0.002, 5e-4, 1e-4, 1e-5, 1e-6)
_KS_WINDOW, _KS_NEWEST = 100, 30
Floats = NDArray[np.float64]


class Embedding:
    """TF-IDF of words and pairs, reduced to 64 dimensions, length one; fitted on the reference."""

    def __init__(self, reference: Sequence[str]) -> None:
        self._tfidf = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
        fitted = self._tfidf.fit_transform(reference)
        self._svd = TruncatedSVD(64, random_state=0).fit(fitted)
        self.reference = self.of(reference[:2000])
        centre = self.reference.mean(axis=0)
        self._centre = centre / np.linalg.norm(centre)
        self._scale = float(np.median(pdist(self.reference[:600], "sqeuclidean")))
        within = self.kernel(self.reference, self.reference)
        n = len(within)
        self.within = float((within.sum() - n) / (n * (n - 1)))

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows of length one, shape (n, 64)."""
        found = self._svd.transform(self._tfidf.transform(texts))
        return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)).astype(np.float32)

    def distance(self, rows: NDArray[np.float32]) -> Floats:
        """To the reference's centre: the scalar of the classic recipe."""
        return 1.0 - (rows @ self._centre).astype(float)

    def kernel(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gaussian kernel with the median heuristic; rows have length one or zero."""
        squares = (left * left).sum(1)[:, None] + (right * right).sum(1)[None]
        return np.exp(-np.maximum(squares - 2.0 * (left @ right.T), 0.0) / self._scale)


def mmd(embedding: Embedding, rows: NDArray[np.float32], across: Floats) -> dict[str, Floats]:
    """Trace of each window; ``across``: mean kernel of each row with the reference."""
    own = embedding.kernel(rows, rows).astype(np.float64)
    np.fill_diagonal(own, 0.0)
    sums = np.zeros((len(rows) + 1, len(rows) + 1))
    sums[1:, 1:] = own.cumsum(0).cumsum(1)
    crossed = np.concatenate([[0.0], np.cumsum(across)])
    found: dict[str, Floats] = {}
    for width in WINDOWS:
        end = np.arange(width, len(rows) + 1)
        begin = end - width
        block = sums[end, end] - sums[begin, end] - sums[end, begin] + sums[begin, begin]
        value = embedding.within + block / (width * (width - 1)) - 2.0 * (crossed[end] - crossed[begin]) / width
        found[f"MMD {width}"] = np.concatenate([np.full(width - 1, -math.inf), value])
    return found


def kswin(values: Floats, seed: int) -> Floats:
    """Kolmogorov-Smirnov distance after each event, ties of the discrete statistic broken at random."""
    rng = np.random.default_rng(seed)
    windows = np.lib.stride_tricks.sliding_window_view(values, _KS_WINDOW)
    old, new = windows[:, :-_KS_NEWEST], windows[:, -_KS_NEWEST:]
    drawn = np.argsort(rng.random(old.shape), axis=1)[:, :_KS_NEWEST]
    both = np.concatenate([new, np.take_along_axis(old, drawn, 1)], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    gap = np.abs(np.where(order < _KS_NEWEST, 1, -1).cumsum(axis=1)).max(axis=1) / _KS_NEWEST
    return np.concatenate([np.full(_KS_WINDOW - 1, -math.inf), gap + 1e-6 * rng.random(len(gap))])


def adwin_first(values: Floats, delta: float, after: int = 0) -> float:
    """Event of the first change that ADWIN tells, from 1; minus one when it comes within the first ``after``."""
    detector = ADWIN(delta=delta)
    for index, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return index + 1.0 if index >= after else -1.0
    return math.inf
