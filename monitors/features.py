"""Text features without downloads: what the drift detectors see of a prompt.

Hashed word and character n-grams, weighted by inverse document frequency in the reference and scaled to length one,
are projected on the reference's leading singular directions (latent semantic analysis, Deerwester et al. 1990); log
length, the share of n-grams that the reference does not know, and the reply's surprisal where it is sampled are put
beside them; the whole is centred and whitened on the reference and clipped. Where the config names a sentence encoder,
its vectors are projected in place of the n-grams.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.encoders import HASHED, Encoder
from monitors.grams import hashed, hashed_array

Array = NDArray[np.float64]

BUCKETS = 1 << 13
"""Width of the hash for the projection; collisions cost little since a direction sums over dozens of grams."""
DIMENSIONS = 32
CLIP = 8.0
"""Whitened values beyond this many standard deviations are cut: one odd prompt must not raise an alarm."""
_RIDGE = 1e-3
"""Added to the covariance, relative to its mean diagonal: a constant feature must not divide by zero."""
_DIRECTION_ROWS = 600
"""Reference texts that the directions come from: their cost grows with the cube."""
_EXTRA = 3
"""Log length, unknown share, surprisal."""
_SURPRISAL_SHARE = 0.9
"""Surprisal is used when at least this share of the reference has it."""


class Features:
    """A fitted map from (prompt, surprisal) to a whitened vector; immutable after ``fit``."""

    def __init__(
        self,
        idf: Array,
        projection: Array,
        mean: Array,
        whiten: Array,
        surprisal: float | None,
        encoder: Encoder | None = None,
    ) -> None:
        self._idf, self._projection = idf, projection
        self._mean, self._whiten = mean, whiten
        self._surprisal = surprisal
        """Mean surprisal of the reference, given to prompts without one; None: not used."""
        self._encoder = encoder
        """What the projection is of; None: the weighted n-grams."""

    @classmethod
    def fit(
        cls, texts: Sequence[str], surprisals: Sequence[float | None] = (), encoder: Encoder | None = None
    ) -> tuple[Features, Array]:
        """Fit on the reference and return the features with the reference's own vectors, shape (n, d).

        The reference's unknown shares are leave-one-out (a gram that only this text has is unknown to the others), so
        that reference and traffic are alike under no drift.

        Raises:
            ValueError: with fewer than two texts.
        """
        if len(texts) < 2:
            raise ValueError(f"expected at least 2 reference texts, got {len(texts)}")
        grams = [hashed(text, BUCKETS) for text in texts]
        frequency = np.zeros(BUCKETS)
        for found in grams:
            frequency[found] += 1.0
        n = len(texts)
        idf = np.where(frequency > 0, np.log((1.0 + n) / (1.0 + frequency)) + 1.0, 0.0)
        embedded = None if encoder is None else _rows(encoder, texts)
        projection = _directions(grams, idf) if embedded is None else _principal(embedded)
        usual = _usual(surprisals, n)
        given = list(surprisals) if usual is not None else [None] * n
        features = cls(idf, projection, np.zeros(1), np.eye(1), usual, encoder)
        rows = [None] * n if embedded is None else list(embedded)
        raw = np.array(
            [
                features._raw(found, text, surprisal, row, frequency)
                for found, text, surprisal, row in zip(grams, texts, given, rows, strict=True)
            ]
        )
        features._mean = raw.mean(axis=0)
        features._whiten = _whitening(raw)
        return features, np.clip((raw - features._mean) @ features._whiten, -CLIP, CLIP)

    @property
    def size(self) -> int:
        """Dimensions of a vector."""
        return int(self._mean.shape[0])

    def transform(self, text: str, surprisal: float | None = None) -> Array:
        """Whitened vector of one prompt, shape (d,). A text without words is the reference's mean: all zeros."""
        found = hashed_array(text, BUCKETS)
        if not len(found):
            return np.zeros(self.size)
        row = None if self._encoder is None else _rows(self._encoder, [text])[0]
        vector = (self._raw(found, text, surprisal, row) - self._mean) @ self._whiten
        return np.minimum(np.maximum(vector, -CLIP), CLIP)

    def _raw(
        self,
        found: Sequence[int] | NDArray[np.int64],
        text: str,
        surprisal: float | None,
        row: Array | None,
        frequency: Array | None = None,
    ) -> Array:
        """Unwhitened vector. ``row``: the encoder's, where there is one; with ``frequency`` the text is one of the
        reference and left out of it.
        """
        weight = self._idf.take(found)
        vector = np.empty(self._projection.shape[1] + _EXTRA)
        if row is None:
            norm = math.sqrt(float(weight @ weight)) or 1.0
            vector[:-_EXTRA] = weight @ self._projection.take(found, axis=0) / norm
        else:
            vector[:-_EXTRA] = row @ self._projection
        vector[-3] = math.log1p(len(text))
        known = weight if frequency is None else frequency[found] > 1.0
        vector[-2] = 1.0 - np.count_nonzero(known) / len(found) if len(found) else 0.0
        vector[-1] = 0.0
        if self._surprisal is not None:
            sampled = surprisal is not None and math.isfinite(surprisal)
            vector[-1] = surprisal if sampled else self._surprisal
        return vector

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; arrays as base64 of little-endian float64, so that nothing is rounded."""
        return {
            "idf": pack(self._idf),
            "projection": pack(self._projection),
            "mean": pack(self._mean),
            "whiten": pack(self._whiten),
            "surprisal": self._surprisal,
            "encoder": HASHED if self._encoder is None else self._encoder.name,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], encoder: Encoder | None = None) -> Features:
        """Inverse of ``to_dict``, with the encoder that it was fitted with.

        Raises:
            ValueError: with another one.
        """
        name = HASHED if encoder is None else encoder.name
        if stored["encoder"] != name:
            raise ValueError(f"expected features of {name}, got those of {stored['encoder']}: fit them anew")
        idf, projection, mean, whiten = (unpack(stored[name]) for name in ("idf", "projection", "mean", "whiten"))
        return cls(idf, projection, mean, whiten, stored["surprisal"], encoder)


def pack(array: Array) -> dict[str, Any]:
    """An array as JSON, bit for bit."""
    return {"shape": list(array.shape), "f8": b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode()}


def unpack(stored: dict[str, Any]) -> Array:
    """Inverse of ``pack``."""
    return np.frombuffer(b64decode(stored["f8"]), "<f8").reshape(stored["shape"]).astype(np.float64)


def _usual(surprisals: Sequence[float | None], n: int) -> float | None:
    """Mean surprisal when nearly all of the reference has one."""
    seen = [s for s in surprisals if s is not None and math.isfinite(s)]
    return math.fsum(seen) / len(seen) if len(surprisals) == n and len(seen) >= _SURPRISAL_SHARE * n else None


def _directions(all_grams: list[list[int]], idf: Array) -> Array:
    """Leading right singular vectors of the weighted reference, shape (BUCKETS, k), by the Gram matrix of its rows."""
    grams = all_grams[:: -(-len(all_grams) // _DIRECTION_ROWS)]
    rows = np.zeros((len(grams), BUCKETS), dtype=np.float32)
    for row, found in zip(rows, grams, strict=True):
        row[found] = idf[found]
        row /= max(float(np.sqrt(row @ row)), 1e-12)
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    keep = [i for i in np.argsort(values)[::-1][:DIMENSIONS] if values[i] > 1e-6 * max(values[-1], 1e-12)]
    left = vectors[:, keep] / np.sqrt(values[keep])
    return rows.T.astype(np.float64) @ left


def _rows(encoder: Encoder, texts: Sequence[str]) -> Array:
    """The encoder's vectors at length one, shape (n, d)."""
    found = np.asarray(encoder.encode(texts), dtype=np.float64)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def _principal(rows: Array) -> Array:
    """Leading principal directions of the reference's vectors, shape (d, k)."""
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))  # ascending
    keep = [i for i in range(len(values) - 1, -1, -1) if values[i] > 1e-12 * max(values[-1], 1e-12)]
    return np.ascontiguousarray(vectors[:, keep[:DIMENSIONS]])  # as it is restored: sums depend on the layout


def _whitening(raw: Array) -> Array:
    """Symmetric inverse root of the covariance; directions without variance get weight zero.

    Each feature is first scaled to unit variance, so that the ridge treats them alike.
    """
    deviation = raw.std(axis=0)
    scale = np.where(deviation > 1e-9, 1.0 / np.maximum(deviation, 1e-9), 0.0)
    covariance = np.cov(raw * scale, rowvar=False)
    values, vectors = np.linalg.eigh(covariance + _RIDGE * np.eye(len(scale)))
    root = (vectors / np.sqrt(np.maximum(values, _RIDGE))) @ vectors.T
    return scale[:, None] * root
