"""The usual level of a signal: its mean over a reference, and what each hour of the week adds to it."""

from __future__ import annotations

from typing import Any

from monitors.detectors.esr import Side
from monitors.season import DAY_S, HOUR_S, WEEK_S, HourSums, Season, timed


class Level:
    """Learned from a reference, and from what comes after it.

    A day of values tells what the hours add. A new version answers better or worse, and by the clock or not: until its
    own values cover a day (a week, where days of the week were told apart), what the hours added before is taken to
    hold wholly, in part or not at all (``cautious``).
    """

    def __init__(self) -> None:
        self._season = Season()
        self._known = False
        self.forget()

    def forget(self) -> None:
        """Another version answers: learn the mean anew, and what its hours add."""
        self._sums = HourSums()
        self._adjusted = 0.0
        """Sum of the values without what their hours add."""
        self._spread: float | None = None
        """Variance about the hours of the version's own season."""
        self._fitted: int | None = None
        """Hour since the epoch in which that season was last fitted; None: the season is not its own."""
        self._clumping = 1.0

    def append(self, value: float, at: float | None) -> None:
        """One value, and its time in seconds since the epoch."""
        self._sums.append(value, at)
        self._adjusted += value - self._season.offset(at)

    def cover(self, at: float | None) -> None:
        """The time of a value that ``extend`` may add later."""
        self._sums.cover(at)

    def extend(self, later: HourSums) -> None:
        """Values that came after these, and whose times ``cover`` was told."""
        self._sums.extend(later)
        self._adjusted += later.total - later.added(self._season)

    def follow(self, at: float | None) -> None:
        """Where the signal follows the clock: fit the hours anew, once in each."""
        if self._season.adds and timed(at) and int(at // HOUR_S) != self._fitted:
            self._fit(at)

    def learns(self, known: int) -> bool:
        """Whether values of after the reference are still to be learned from: until ``known`` of them, and where the
        signal follows the clock until they cover a week. With ``known`` 0 the reference is all.
        """
        return known > 0 and (self.count < known or (bool(self._season.adds) and self._sums.span_s < WEEK_S))

    def spans(self, span_s: float) -> bool:
        """Whether the reference is long enough; it need not be once a season is known."""
        return self._known or self._sums.span_s >= span_s

    @property
    def span_s(self) -> float:
        """Seconds that the values of this version cover."""
        return self._sums.span_s

    @property
    def season_known(self) -> bool:
        """Whether ``settle`` was called."""
        return self._known

    def settle(self, clumping: float) -> None:
        """The reference is complete. One of a day or more tells what the hours add."""
        self._known, self._clumping = True, clumping
        self._fit(None)

    def _fit(self, at: float | None) -> None:
        # What is known of the days of the week is not given up for one day.
        if self._sums.span_s < (WEEK_S if self._season.weekly else DAY_S):
            return
        self._season = self._sums.fit(self._clumping)
        self._adjusted = self._sums.total - self._sums.added(self._season)
        self._spread = self._sums.unexplained(self._season)
        self._fitted = int(at // HOUR_S) if timed(at) else -1

    def offset(self, at: float | None) -> float:
        """What the hour adds to the mean."""
        return self._season.offset(at)

    def cautious(self, at: float | None, side: Side, errors: float) -> float:
        """The same for a test of one side, moved away from its alarm: by so many standard errors of the hour; while the
        season is another version's, to what lies farther of that season and of none.
        """
        if not self._season.adds:
            return 0.0
        adds, lower = self._season.offset(at), side == "fall"
        unsure = errors * self._season.error(at)
        moved = adds - unsure if lower else adds + unsure
        if self._fitted is not None:
            return moved
        usually = (self._sums.total - self._adjusted) / max(self.count, 1)
        return min(moved, usually) if lower else max(moved, usually)

    @property
    def count(self) -> int:
        """Values that it is known from."""
        return int(self._sums.count)

    @property
    def mean(self) -> float:
        """Over all hours; 0 without values."""
        return self._adjusted / max(self.count, 1)

    @property
    def variance(self) -> float:
        """Of the values about mean and hour."""
        if self._spread is not None:
            return self._spread
        count = max(self.count, 1)
        return self._sums.squares / count - (self._sums.total / count) ** 2

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "values": self._sums.dump(),
            "adjusted": self._adjusted,
            "spread": self._spread,
            "fitted": self._fitted,
            "known": self._known,
            "clumping": self._clumping,
            "adds": list(self._season.adds),
            "errors": list(self._season.errors),
        }

    @classmethod
    def load(cls, stored: dict[str, Any], clumping: float = 1.0) -> Level:
        """Inverse of ``dump``. ``clumping``: for a state that does not hold it."""
        level = cls()
        level._season = Season(tuple(stored["adds"]), tuple(stored.get("errors", ())))
        if "values" not in stored:
            level._take_over(stored)
            level._clumping = clumping
            return level
        level._sums = HourSums.load(stored["values"])
        level._adjusted, level._spread = stored["adjusted"], stored["spread"]
        level._fitted, level._known, level._clumping = stored["fitted"], stored["known"], stored["clumping"]
        return level

    def _take_over(self, stored: dict[str, Any]) -> None:
        """A state of before the hours were learned on: its values have no hours any more once the season was known."""
        count, total, squares = stored["sums"]
        self._known = stored["hours"] is None
        if not self._known:
            self._sums = HourSums.load(stored["hours"])
        else:
            self._sums = HourSums.load({"hours": [[-1, count, total, squares]], "times": None})
            self._fitted = -1 if self._season.adds else None
        self._adjusted, self._spread = total, stored["variance"]
