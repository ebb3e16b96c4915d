"""MEWMA: a shift in the mean of whitened feature vectors.

Lowry et al., "A multivariate exponentially weighted moving average control chart", Technometrics 1992:
e_t = (1-l) e_{t-1} + l z_t and T2 = |e_t|^2 / (l/(2-l) * (1-(1-l)^(2t))). The threshold comes from a block bootstrap
of the reference and includes the error of the estimated mean (Gandy and Kvaloy, "Guaranteed conditional performance of
control charts via bootstrap methods", Scandinavian Journal of Statistics 2013).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from monitors.detectors.blocks import Blocks, level
from monitors.features import Array

SMOOTHING = 0.01
"""Weight l of the newest vector: a memory of about 200 events."""
_WARM = 20
"""Events after a reset before T2 is looked at."""
_STREAMS, _LENGTH = 128, 1500
"""Simulated streams and their length: 192,000 events, about 0.3 s."""


class Mewma:
    """The running chart; ``update`` says whether T2 lies above the threshold."""

    name = "mewma"

    def __init__(self, size: int, threshold: float) -> None:
        self._mean = np.zeros(size)
        self._events = 0
        self.threshold = threshold
        self.statistic = 0.0

    def update(self, vector: Array) -> bool:
        """One event, a whitened vector of shape (d,); vectors that are not finite are ignored."""
        if not math.isfinite(float(vector.sum())):
            return False
        self._events += 1
        self._mean = (1.0 - SMOOTHING) * self._mean + SMOOTHING * vector
        self.statistic = float(self._mean @ self._mean) / _spread(self._events)
        return self.warm and self.statistic > self.threshold

    @property
    def warm(self) -> bool:
        """Whether there were enough events since the reset for T2 to mean something."""
        return self._events > _WARM

    def reset(self) -> None:
        """Forget the traffic, keep the threshold."""
        self._mean = np.zeros_like(self._mean)
        self._events, self.statistic = 0, 0.0

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "mean": [float(x) for x in self._mean],
            "events": self._events,
            "threshold": self.threshold,
            "statistic": self.statistic,
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Mewma:
        """Inverse of ``dump``."""
        chart = cls(len(stored["mean"]), float(stored["threshold"]))
        chart._mean = np.array(stored["mean"], dtype=np.float64)
        chart._events, chart.statistic = int(stored["events"]), float(stored["statistic"])
        return chart


def calibrate(reference: Array, blocks: Blocks, mean_events: float, seed: int) -> float:
    """Threshold with ``mean_events`` events between false suspicions, for vectors like ``reference``, shape (n, d).

    Never below d, the mean of T2.
    """
    rng = np.random.default_rng(seed)
    size = reference.shape[1]
    starts = blocks.starts(_STREAMS)
    order = np.stack([blocks.stream(int(hour), _LENGTH, rng) for hour in starts])
    error = np.stack([reference[blocks.resample(rng)].mean(axis=0) for _ in starts])
    mean, top = np.zeros((len(order), size)), np.zeros(len(order))
    for step in range(_LENGTH):
        mean = (1.0 - SMOOTHING) * mean + SMOOTHING * (reference[order[:, step]] - error)
        if step >= _WARM:
            np.maximum(top, np.einsum("ij,ij->i", mean, mean) / _spread(step + 1), out=top)
    return max(level(top, starts, _LENGTH, mean_events), float(size))


def _spread(events: int) -> float:
    return SMOOTHING / (2.0 - SMOOTHING) * (1.0 - (1.0 - SMOOTHING) ** (2 * events))
