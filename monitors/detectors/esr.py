"""e-SR: a scalar in [0, 1] that falls below, or rises above, its level.

Shiryaev-Roberts sums of betting e-values (Shin, Ramdas and Rinaldo, "E-detectors", 2022), for a fall
M_{j,t} = (M_{j,t-1} + 1) (1 + l_j (p0 - y_t) / (1 - p0)), weighted mean over l_j; the mean time to a false alarm is at
least the threshold when the mean of y is at least p0. p0 is estimated, so it is lowered by a multiple of its standard
error.
"""

from __future__ import annotations

import math
from operator import mul
from typing import Any, Literal

Side = Literal["fall", "rise"]

STAKES = (0.06, 0.12, 0.25, 0.5)
"""The best stake for a fall from .80 to .75 is .06, to .70 .12, to .60 .25; the last is for levels below one half."""
STAKE_WEIGHTS = (0.30, 0.50, 0.15, 0.05)
"""Most lies where small falls are found: at the same measured time to a false alarm equal weights tell falls of 5 and
10 points a tenth later, and one of 20 points a twentieth sooner."""
_LOWEST = 0.02
"""Levels closer to 0 or 1 are moved here: a single value must not decide."""
_LARGEST = 1e280
"""Sums stop growing here: an alarm long past must not become infinite."""


class Esr:
    """One side of one scalar."""

    def __init__(self, side: Side, level: float, threshold: float) -> None:
        """``level``: p0, in the scale of the values; ``threshold``: mean events between false alarms."""
        self.side: Side = side
        self.relevel(level)
        self.threshold = threshold
        self.name = f"esr_{side}"
        self._sums = [0.0] * len(STAKES)
        self._recent = 1.0
        """e-CUSUM of the smallest stake: it begins anew, at 1, whenever it has lost what it won."""
        self.events = 0

    @property
    def quiet(self) -> bool:
        """Nothing at present speaks for a change: what came before now does not belong to one."""
        return self._recent <= 1.0

    @property
    def statistic(self) -> float:
        """Weighted mean of the sums."""
        return sum(map(mul, STAKE_WEIGHTS, self._sums))

    def relevel(self, level: float) -> None:
        """Another p0 from the next value on; what was won against the old one stays."""
        self.level = min(max(level, _LOWEST), 1.0 - _LOWEST)

    def update(self, value: float, offset: float = 0.0) -> bool:
        """One value; outside [0, 1] or NaN it is ignored.

        ``offset``: what its hour usually adds to the level. Any p0 that is known before the value keeps the guarantee.
        """
        if not 0.0 <= value <= 1.0:
            return False
        level = min(max(self.level + offset, _LOWEST), 1.0 - _LOWEST) if offset else self.level
        y, p0 = (value, level) if self.side == "fall" else (1.0 - value, 1.0 - level)
        gain = (p0 - y) / (1.0 - p0)
        sums = [(m + 1.0) * (1.0 + stake * gain) for m, stake in zip(self._sums, STAKES, strict=True)]
        self._sums = sums if max(sums) < _LARGEST else [min(m, _LARGEST) for m in sums]
        self._recent = min(max(self._recent, 1.0) * (1.0 + STAKES[0] * gain), _LARGEST)
        self.events += 1
        return self.statistic >= self.threshold

    def reset(self) -> None:
        """Forget the values, keep the level."""
        self._sums, self._recent, self.events = [0.0] * len(STAKES), 1.0, 0

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "side": self.side,
            "level": self.level,
            "threshold": self.threshold,
            "sums": list(self._sums),
            "recent": self._recent,
            "events": self.events,
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Esr:
        """Inverse of ``dump``. A state from before ``recent`` was kept begins it anew."""
        detector = cls(stored["side"], float(stored["level"]), float(stored["threshold"]))
        detector._recent = float(stored.get("recent", 1.0))
        detector._sums = [float(m) for m in stored["sums"]]
        detector.events = int(stored["events"])
        return detector


def cautious_level(mean: float, variance: float, events: int, side: Side, errors: float, clumping: float) -> float:
    """p0 from a reference period: the mean, moved away from the alarm by ``errors`` standard errors.

    ``clumping`` is the design effect: rewards of one session or person are alike.
    """
    shift = errors * math.sqrt(max(variance, 0.0) * clumping / max(events, 1))
    return mean - shift if side == "fall" else mean + shift
