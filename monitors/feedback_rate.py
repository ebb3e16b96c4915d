"""The share of exchanges that are rated, told to people: a silent feedback route looks like contentment."""

from __future__ import annotations

from typing import Any, Final

from monitors.alarms import Evidence
from monitors.detectors.informers import Informer
from monitors.season import HourSums, Season

_EVERY: Final = 50
"""Exchanges over which the share is taken, at least."""
_SILENCE: Final = 2_000
"""Exchanges without a rating that make a silence. Fewer may merely be ahead of their ratings, which come minutes later,
and after an outage a backlog may bring a thousand exchanges before the first feedback. The wait costs little: the
shares that were not taken meanwhile are taken at its end.
"""


class FeedbackRate:
    """River's detectors on that share, less what its hour of the week usually adds.

    The share is taken with a rating, over all exchanges since it was last taken, and in a silence without one. A
    silence is one only after there was feedback, and of the version whose feedback came last: what stands in for the
    champion is not rated here.

    After 30,000 exchanges a share of .4 that falls to none is told within some 2,000, one of .1 within 5,000, one of
    .03 within 25,000; one of .01 ADWIN does not tell from none.
    """

    def __init__(self, span_s: float) -> None:
        """``span_s``: seconds that the first shares must cover before they are watched; 0: at once, with one level."""
        self._span = span_s
        self._rated, self._from = 0, 0
        self._silent: int | None = None
        """Exchanges of ``_version`` since the newest rating; None before the first."""
        self._version: str | None = None
        """Which one was rated last; None: not known, all count."""
        self._informer = Informer("feedback_rate")
        self._hours: HourSums | None = HourSums() if span_s else None
        """None once the season is known, or where it is not wanted."""
        self._season = Season()

    def forget_version(self) -> None:
        """Another version answers: its silence counts as well."""
        self._version = None

    def exchanged(self, index: int, at: float | None, version: str) -> list[tuple[str, Evidence]]:
        """One exchange that may be rated later, and the exchange count; the detectors that tell, with their figures."""
        if self._silent is None or self._version not in (None, version):
            return []
        self._silent += 1
        if self._silent < _SILENCE or self._silent % _EVERY:
            return []
        shares = _SILENCE // _EVERY if self._silent == _SILENCE else 1
        rate = self._taken(index)
        return [told for _ in range(shares) for told in self._share(rate, at)]

    def update(self, index: int, at: float | None, version: str | None = None) -> list[tuple[str, Evidence]]:
        """One rated exchange and the exchange count at its feedback; the detectors that tell, with their figures."""
        self._rated += 1
        self._silent, self._version = 0, version
        return self._share(self._taken(index), at) if index - self._from >= _EVERY else []

    def _taken(self, index: int) -> float:
        rate, self._rated, self._from = self._rated / max(index - self._from, 1), 0, index
        return rate

    def _share(self, rate: float, at: float | None) -> list[tuple[str, Evidence]]:
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
            "silent": self._silent,
            "version": self._version,
            "informer": self._informer.dump(),
            "hours": self._hours.dump() if self._hours is not None else None,
            "adds": list(self._season.adds),
        }

    @classmethod
    def load(cls, span_s: float, stored: dict[str, Any]) -> FeedbackRate:
        """Inverse of ``dump``. In a state from before silence was told it begins to be counted."""
        watch = cls(span_s)
        watch._rated, watch._from = stored["rated"], stored["from"]
        ever = watch._rated > 0 or watch._from > 0
        watch._silent, watch._version = stored.get("silent", 0 if ever else None), stored.get("version")
        watch._informer = Informer.load(stored["informer"])
        watch._hours = HourSums.load(stored["hours"]) if stored["hours"] is not None else None
        watch._season = Season(tuple(stored["adds"]))
        return watch
