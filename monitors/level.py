"""The usual level of a signal: its mean over a reference, and what each hour of the week adds to it."""

from __future__ import annotations

from typing import Any

from monitors.season import HourSums, Season


class Level:
    """Learned from a reference. What the hours add is learned once and kept: a new version answers better or worse, but
    people still come by the clock.
    """

    def __init__(self) -> None:
        self._hours: HourSums | None = HourSums()
        """None once the season is known."""
        self._season = Season()
        self.forget()

    def forget(self) -> None:
        """Learn the mean anew."""
        self._count, self._total, self._squares = 0, 0.0, 0.0
        self._variance: float | None = None

    def append(self, value: float, at: float | None) -> None:
        """One value of the reference, and its time in seconds since the epoch."""
        adjusted = value - self._season.offset(at)
        self._count += 1
        self._total += adjusted
        self._squares += adjusted**2
        if self._hours is not None:
            self._hours.append(value, at)

    def extend(self, count: int, total: float, squares: float) -> None:
        """Values that came after the reference, without what their hours add: how many, their sum and that of their
        squares.
        """
        self._count += count
        self._total += total
        self._squares += squares

    def spans(self, span_s: float) -> bool:
        """Whether the reference is long enough; it need not be once the season is known."""
        return self._hours is None or self._hours.span_s >= span_s

    @property
    def season_known(self) -> bool:
        """Whether ``settle`` was called."""
        return self._hours is None

    def settle(self, clumping: float) -> None:
        """The reference is complete. A first one of a day or more tells what the hours add."""
        if self._hours is not None:
            self._season = self._hours.fit(clumping)
            if self._season.adds:
                self._variance = self._hours.unexplained(self._season)
            self._hours = None

    def offset(self, at: float | None) -> float:
        """What the hour adds to the mean."""
        return self._season.offset(at)

    @property
    def count(self) -> int:
        """Values of the reference."""
        return self._count

    @property
    def mean(self) -> float:
        """Over all hours; 0 without values."""
        return self._total / max(self._count, 1)

    @property
    def variance(self) -> float:
        """Of the values about mean and hour."""
        plain = self._squares / max(self._count, 1) - self.mean * self.mean
        return plain if self._variance is None else self._variance

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "sums": [self._count, self._total, self._squares],
            "variance": self._variance,
            "hours": self._hours.dump() if self._hours is not None else None,
            "adds": list(self._season.adds),
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Level:
        """Inverse of ``dump``."""
        level = cls()
        level._count, level._total, level._squares = stored["sums"]
        level._variance = stored["variance"]
        level._hours = HourSums.load(stored["hours"]) if stored["hours"] is not None else None
        level._season = Season(tuple(stored["adds"]))
        return level
