# pyright: basic
"""River's ADWIN and PageHinkley on scalars: cheap second opinions that tell people and never act.

Bifet and Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007; Page, Biometrika 1954. Their
insides are river's own (Cython for ADWIN), so the state is river's pickle in base64. It is read back only from this
deployment's own store, which holds nothing that others write.
"""

from __future__ import annotations

import math
import pickle
from base64 import b64decode, b64encode
from typing import Any

from river.drift import ADWIN, PageHinkley

ADWIN_DELTA = 0.002
"""River's default."""
PAGE_HINKLEY_THRESHOLD = 50.0
"""River's default, in the scale of the values. It suits shares and rewards, which lie in [0, 1]; values of deviation 1
pass it by chance once in 1,700 events. Others have their scale learned: ``learns_scale``."""
_MUTE_EVENTS = 500
"""Events for which an informer that has just spoken stays quiet."""
SCALE_EVENTS = 500
"""Values from which a scale is learned. They tell a deviation to a few per cent (a twentieth off moves the time to a
false alarm by a third), and are as many as pass unheard after an alarm in any case."""
_DEVIATIONS = 5.0
"""What lies this far from the mean is 1 to the detectors, and what lies further is no more than that.

On independent values (normal, lognormal, exponential, two-point) the detectors then speak wrongly once in 80,000 to
200,000 events, against 700 to 10,700 for values as they come; a shift of one deviation is told after about 100 events.
With 4 they speak wrongly once in 60,000 to 80,000.
"""
_LEAST_DEVIATION = 0.05
"""In the units of the values, where those of the reference are all alike. Callers give logarithms: a twentieth."""


class _Scale:
    """Mean and deviation of the first ``SCALE_EVENTS`` values, by Welford's sums."""

    def __init__(self, count: int = 0, mean: float = 0.0, squares: float = 0.0) -> None:
        self.count, self.mean, self.squares = count, mean, squares

    @property
    def known(self) -> bool:
        return self.count >= SCALE_EVENTS

    def learn(self, value: float) -> None:
        self.count += 1
        away = value - self.mean
        self.mean += away / self.count
        self.squares += away * (value - self.mean)

    @property
    def unit(self) -> float:
        """What is 1 to the detectors, in the units of the values."""
        return _DEVIATIONS * max(math.sqrt(self.squares / max(self.count, 1)), _LEAST_DEVIATION)

    def of(self, value: float) -> float:
        """-1 to 1: one wild value alone moves the detectors no further."""
        return min(max((value - self.mean) / self.unit, -1.0), 1.0)


class Informer:
    """ADWIN and PageHinkley side by side on one scalar.

    One that ``learns_scale`` takes values of any size. It is silent until it has ``SCALE_EVENTS`` of them, and learns
    their scale anew after each alarm: what comes then may spread otherwise.
    """

    def __init__(self, name: str, learns_scale: bool = False) -> None:
        """Without ``learns_scale`` values are in [0, 1], or differences of such values."""
        self.name = name
        self._scale = _Scale() if learns_scale else None
        self._begin()
        self._quiet = 0

    def _begin(self) -> None:
        self._adwin = ADWIN(delta=ADWIN_DELTA)
        self._page = PageHinkley(threshold=PAGE_HINKLEY_THRESHOLD)

    def update(self, value: float) -> list[str]:
        """Names of the detectors that find a change with this value; NaN and infinities are ignored."""
        if not math.isfinite(value):
            return []
        if self._scale is not None:
            if self._quiet == _MUTE_EVENTS:  # it has just spoken; until now its level was asked for
                self._scale = _Scale()
                self._begin()
            if not self._scale.known:
                self._scale.learn(value)
                self._quiet = max(self._quiet - 1, 0)
                return []
            value = self._scale.of(value)
        before = self._adwin.estimation
        self._adwin.update(value)
        self._page.update(value)
        self._quiet = max(self._quiet - 1, 0)
        changed = self._adwin.drift_detected and self._adwin.estimation != before
        found = ["adwin"] * bool(changed) + ["page_hinkley"] * bool(self._page.drift_detected)
        if not found or self._quiet:
            return []
        self._quiet = _MUTE_EVENTS
        return found

    @property
    def level(self) -> float:
        """ADWIN's estimate of the mean now, in the units of the values."""
        estimate = float(self._adwin.estimation)
        return estimate if self._scale is None else self._scale.mean + self._scale.unit * estimate

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        pickled = b64encode(pickle.dumps((self._adwin, self._page))).decode()
        dumped: dict[str, Any] = {"name": self.name, "quiet": self._quiet, "river": pickled}
        if self._scale is not None:
            dumped["scale"] = [self._scale.count, self._scale.mean, self._scale.squares]
        return dumped

    @classmethod
    def load(cls, stored: dict[str, Any], learns_scale: bool = False) -> Informer:
        """Inverse of ``dump``. A state from before scales were learned has none: it is learned, by new detectors."""
        informer = cls(stored["name"], learns_scale)
        if learns_scale:
            if "scale" not in stored:
                return informer
            informer._scale = _Scale(*stored["scale"])
        informer._adwin, informer._page = pickle.loads(b64decode(stored["river"]))
        informer._quiet = int(stored["quiet"])
        return informer
