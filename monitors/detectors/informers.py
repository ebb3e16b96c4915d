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
"""River's default, in the scale of the values; callers scale their values to about unit deviation."""
_MUTE_EVENTS = 500
"""Events for which an informer that has just spoken stays quiet."""


class Informer:
    """ADWIN and PageHinkley side by side on one scalar."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._adwin = ADWIN(delta=ADWIN_DELTA)
        self._page = PageHinkley(threshold=PAGE_HINKLEY_THRESHOLD)
        self._quiet = 0

    def update(self, value: float) -> list[str]:
        """Names of the detectors that find a change with this value; NaN and infinities are ignored."""
        if not math.isfinite(value):
            return []
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
        """ADWIN's estimate of the mean now."""
        return float(self._adwin.estimation)

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        pickled = b64encode(pickle.dumps((self._adwin, self._page))).decode()
        return {"name": self.name, "quiet": self._quiet, "river": pickled}

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Informer:
        """Inverse of ``dump``."""
        informer = cls(stored["name"])
        informer._adwin, informer._page = pickle.loads(b64decode(stored["river"]))
        informer._quiet = int(stored["quiet"])
        return informer
