"""The share of exchanges that are rated, told to people: a silent feedback route looks like contentment."""

from __future__ import annotations

from typing import Any, Final

from monitors.alarms import Evidence
from monitors.detectors.informers import Informer
from monitors.season import HourSums, Season

_EVERY: Final = 50
"""Exchanges over which the share is taken."""


class FeedbackRate:
    """River's detectors on that share, less what its hour of the week usually adds."""

    def __init__(self, span_s: float) -> None:
        """``span_s``: seconds that the first shares must cover before they are watched; 0: at once, with one level."""
        self._span = span_s
        self._rated, self._from = 0, 0
        self._informer = Informer("feedback_rate")
        self._hours: HourSums | None = HourSums() if span_s else None
        """None once the season is known, or where it is not wanted."""
        self._season = Season()

    def update(self, index: int, at: float | None) -> list[tuple[str, Evidence]]:
        """One rated exchange and the exchange count at its feedback; the detectors that tell, with their figures."""
        self._rated += 1
        passed = index - self._from
        if passed < _EVERY:
            return []
        rate, self._rated, self._from = self._rated / passed, 0, index
        if self._hours is not None:
            self._hours.append(rate, at)
            if self._hours.span_s < self._span:
                return []
            self._season, self._hours = self._hours.fit(clumping=1.0), None
        told = self._informer.update(rate - self._season.offset(at))
        return [(name, {"signal": "feedback_rate", "level": self._informer.level, "value": rate}) for name in told]

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "rated": self._rated,
            "from": self._from,
            "informer": self._informer.dump(),
            "hours": self._hours.dump() if self._hours is not None else None,
            "adds": list(self._season.adds),
        }

    @classmethod
    def load(cls, span_s: float, stored: dict[str, Any]) -> FeedbackRate:
        """Inverse of ``dump``."""
        watch = cls(span_s)
        watch._rated, watch._from = stored["rated"], stored["from"]
        watch._informer = Informer.load(stored["informer"])
        watch._hours = HourSums.load(stored["hours"]) if stored["hours"] is not None else None
        watch._season = Season(tuple(stored["adds"]))
        return watch
