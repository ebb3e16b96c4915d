"""How a signal follows the clock: what each hour of the day, or of the week, usually adds to its mean.

Hours are few and rewards are noisy, so an hour's mean is drawn towards that of its hour of the day, and this towards
the whole's, as far as the spread between them could be chance (empirical Bayes: Efron and Morris, "Data analysis using
Stein's estimator and its generalizations", JASA 1975). Where the week is too thin to know its shape the shape is flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from monitors.covered import Covered

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
WEEK_S: Final = 604_800.0
_WEEK, _DAY = 168, 24
_UNTIMED: Final = -1
"""Place of the values without a time."""
_DIGITS = 4
"""Of what an hour adds: it is stored 168 times, and known to two or three."""


@dataclass(frozen=True)
class Season:
    """What each hour of the week (UTC) adds; empty where the signal has one level."""

    adds: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    """Standard error of each; empty: not known."""

    def offset(self, at: float | None) -> float:
        """For a value of that time, seconds since the epoch; 0 where nobody knows it."""
        return self.adds[hour_of_week(at)] if self.adds and timed(at) else 0.0

    @property
    def weekly(self) -> bool:
        """Whether it tells the days of the week apart."""
        return self.adds[:_DAY] * 7 != self.adds

    def error(self, at: float | None) -> float:
        """Standard error of that."""
        return self.errors[hour_of_week(at)] if self.errors and timed(at) else 0.0


class HourSums:
    """Values by the hour of the week. Invariant: 169 places at most, three numbers each."""

    def __init__(self) -> None:
        self._hours: dict[int, list[float]] = {}
        self._covered = Covered()
        self.count, self.total, self.squares = 0.0, 0.0, 0.0
        """Of all values, those without a time among them, which belong to no hour."""

    def append(self, value: float, at: float | None) -> None:
        """One value."""
        self._covered.append(at)
        self._add(hour_of_week(at) if timed(at) else _UNTIMED, 1.0, value, value * value)

    def extend(self, other: HourSums) -> None:
        """The values of another. The time that they cover was told to ``cover`` as they came."""
        for hour, held in other._hours.items():
            self._add(hour, *held)

    def cover(self, at: float | None) -> None:
        """The time of a value that is not counted yet."""
        self._covered.append(at)

    def _add(self, hour: int, count: float, total: float, squares: float) -> None:
        held = self._hours.setdefault(hour, [0.0, 0.0, 0.0])
        held[0] += count
        held[1] += total
        held[2] += squares
        self.count += count
        self.total += total
        self.squares += squares

    @property
    def span_s(self) -> float:
        """Seconds that the values cover."""
        return self._covered.span_s

    def added(self, season: Season) -> float:
        """Sum of what their hours add to the values."""
        if not season.adds:
            return 0.0
        return math.fsum(season.adds[hour] * held[0] for hour, held in self._timed().items())

    def _timed(self) -> dict[int, list[float]]:
        return {hour: held for hour, held in self._hours.items() if hour != _UNTIMED}

    def fit(self, clumping: float) -> Season:
        """The season: hours of the day when less than a week was seen, one level when less than a day. ``clumping``:
        design effect of the values.

        What the hours add has mean zero over the values seen.
        """
        if self.span_s < DAY_S:
            return Season()
        hours = self._timed()
        whole = [math.fsum(held[i] for held in hours.values()) for i in range(3)]
        mean = whole[1] / whole[0]
        days: dict[int, list[float]] = {}
        for hour, held in hours.items():
            day = days.setdefault(hour % _DAY, [0.0, 0.0, 0.0])
            for i in range(3):
                day[i] += held[i]
        of_day, errors = _shrunk(days, dict.fromkeys(days, mean), clumping)
        of_week = {hour: of_day[hour % _DAY] for hour in hours}
        week_errors = {hour: errors[hour % _DAY] for hour in hours}
        if self.span_s >= WEEK_S:
            of_week, week_errors = _shrunk(hours, of_week, clumping)
        centre = math.fsum(hours[hour][0] * level for hour, level in of_week.items()) / whole[0]
        # An hour of the week that nobody has rated in is like that hour on other days.
        levels = [of_week.get(hour, of_day.get(hour % _DAY, centre)) for hour in range(_WEEK)]
        unsure = [week_errors.get(hour, errors.get(hour % _DAY, 0.0)) for hour in range(_WEEK)]
        return Season(
            tuple(round(level - centre, _DIGITS) for level in levels), tuple(round(e, _DIGITS) for e in unsure)
        )

    def unexplained(self, season: Season) -> float:
        """Variance of the timed values about what their hours add to the mean."""
        hours = self._timed()
        count = math.fsum(held[0] for held in hours.values())
        if not count:
            return 0.0
        adds = season.adds or (0.0,) * _WEEK
        mean = math.fsum(held[1] - adds[hour] * held[0] for hour, held in hours.items()) / count
        squares = math.fsum(
            held[2] - 2.0 * adds[hour] * held[1] + adds[hour] ** 2 * held[0] for hour, held in hours.items()
        )
        return max(squares / count - mean * mean, 0.0)

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        hours = [[hour, *held] for hour, held in self._hours.items()]
        return {"covered": self._covered.dump(), "hours": hours, "sums": [self.count, self.total, self.squares]}

    @classmethod
    def load(cls, stored: dict[str, Any]) -> HourSums:
        """Inverse of ``dump``. A state of before gaps were told apart covers all between its first and last ``times``;
        one without sums is the sum of its hours.
        """
        found = cls()
        for hour, *held in stored["hours"]:
            found._add(int(hour), *map(float, held))
        found._covered = Covered.load(stored["covered"] if "covered" in stored else stored["times"])
        if "sums" in stored:
            found.count, found.total, found.squares = map(float, stored["sums"])
        return found


def timed(at: float | None) -> TypeGuard[float]:
    """Whether a time is known."""
    return at is not None and math.isfinite(at)


def hour_of_week(at: float) -> int:
    """0 to 167, from the epoch's Thursday at midnight UTC."""
    return int(at // HOUR_S) % _WEEK


def _shrunk(
    groups: Mapping[int, Sequence[float]], towards: Mapping[int, float], clumping: float
) -> tuple[dict[int, float], dict[int, float]]:
    """Group means drawn to ``towards``, by count, sum and sum of squares of each group; and their standard errors.

    The spread between the groups is what is left of the squared distances when chance is taken off (method of moments);
    a group keeps spread / (spread + its own error) of its distance.
    """
    total = math.fsum(held[0] for held in groups.values())
    within = math.fsum(max(held[2] - held[1] ** 2 / held[0], 0.0) for held in groups.values())
    noise = clumping * within / max(total - len(groups), 1.0)
    apart = {key: held[1] / held[0] - towards[key] for key, held in groups.items()}
    distances = math.fsum(groups[key][0] * distance**2 for key, distance in apart.items())
    spread = max((distances - noise * len(groups)) / total, 0.0)
    levels, errors = dict[int, float](), dict[int, float]()
    for key, held in groups.items():
        error = noise / held[0]
        kept = spread / (spread + error) if spread > 0.0 else 0.0
        levels[key] = towards[key] + kept * apart[key]
        errors[key] = math.sqrt(kept * error)
    return levels, errors
