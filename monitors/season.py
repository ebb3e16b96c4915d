"""How a signal follows the clock: what each hour of the day, or of the week, usually adds to its mean.

Hours are few and rewards are noisy, so an hour's mean is drawn towards that of its hour of the day, and this towards
the whole's, as far as the spread between them could be chance (empirical Bayes: Efron and Morris, "Data analysis using
Stein's estimator and its generalizations", JASA 1975). Where the week is too thin to know its shape the shape is flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
WEEK_S: Final = 604_800.0
_WEEK, _DAY = 168, 24
_DIGITS = 4
"""Of what an hour adds: it is stored 168 times, and known to two or three."""


@dataclass(frozen=True)
class Season:
    """What each hour of the week (UTC) adds; empty where the signal has one level."""

    adds: tuple[float, ...] = ()

    def offset(self, at: float | None) -> float:
        """For a value of that time, seconds since the epoch; 0 where nobody knows it."""
        return self.adds[hour_of_week(at)] if self.adds and at is not None and math.isfinite(at) else 0.0


class HourSums:
    """Values by the hour of the week. Invariant: 168 hours at most, three numbers each."""

    def __init__(self) -> None:
        self._hours: dict[int, list[float]] = {}
        self._first, self._last = math.inf, -math.inf

    def append(self, value: float, at: float | None) -> None:
        """One value; without a time it belongs to no hour and is left out."""
        if at is None or not math.isfinite(at):
            return
        self._first, self._last = min(self._first, at), max(self._last, at)
        held = self._hours.setdefault(hour_of_week(at), [0.0, 0.0, 0.0])
        held[0] += 1.0
        held[1] += value
        held[2] += value * value

    @property
    def span_s(self) -> float:
        """Seconds between the first and the last value."""
        return max(self._last - self._first, 0.0)

    def fit(self, clumping: float) -> Season:
        """The season: hours of the day when less than a week was seen, one level when less than a day. ``clumping``:
        design effect of the values.

        What the hours add has mean zero over the values seen.
        """
        if self.span_s < DAY_S:
            return Season()
        whole = [math.fsum(held[i] for held in self._hours.values()) for i in range(3)]
        mean = whole[1] / whole[0]
        days: dict[int, list[float]] = {}
        for hour, held in self._hours.items():
            day = days.setdefault(hour % _DAY, [0.0, 0.0, 0.0])
            for i in range(3):
                day[i] += held[i]
        of_day = _shrunk(days, dict.fromkeys(days, mean), clumping)
        of_week = {hour: of_day[hour % _DAY] for hour in self._hours}
        if self.span_s >= WEEK_S:
            of_week = _shrunk(self._hours, of_week, clumping)
        centre = math.fsum(self._hours[hour][0] * level for hour, level in of_week.items()) / whole[0]
        # An hour of the week that nobody has rated in is like that hour on other days.
        levels = [of_week.get(hour, of_day.get(hour % _DAY, centre)) for hour in range(_WEEK)]
        return Season(tuple(round(level - centre, _DIGITS) for level in levels))

    def unexplained(self, season: Season) -> float:
        """Variance of the values about what their hours add to the mean."""
        count = math.fsum(held[0] for held in self._hours.values())
        if not count:
            return 0.0
        adds = season.adds or (0.0,) * _WEEK
        mean = math.fsum(held[1] - adds[hour] * held[0] for hour, held in self._hours.items()) / count
        squares = math.fsum(
            held[2] - 2.0 * adds[hour] * held[1] + adds[hour] ** 2 * held[0] for hour, held in self._hours.items()
        )
        return max(squares / count - mean * mean, 0.0)

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        times = [self._first, self._last] if self._first <= self._last else None
        return {"times": times, "hours": [[hour, *held] for hour, held in self._hours.items()]}

    @classmethod
    def load(cls, stored: dict[str, Any]) -> HourSums:
        """Inverse of ``dump``."""
        sums = cls()
        if stored["times"] is not None:
            sums._first, sums._last = stored["times"]
        sums._hours = {int(hour): [float(x) for x in held] for hour, *held in stored["hours"]}
        return sums


def hour_of_week(at: float) -> int:
    """0 to 167, from the epoch's Thursday at midnight UTC."""
    return int(at // HOUR_S) % _WEEK


def _shrunk(groups: Mapping[int, Sequence[float]], towards: Mapping[int, float], clumping: float) -> dict[int, float]:
    """Group means drawn to ``towards``, by count, sum and sum of squares of each group.

    The spread between the groups is what is left of the squared distances when chance is taken off (method of moments);
    a group keeps spread / (spread + its own error) of its distance.
    """
    total = math.fsum(held[0] for held in groups.values())
    within = math.fsum(max(held[2] - held[1] ** 2 / held[0], 0.0) for held in groups.values())
    noise = clumping * within / max(total - len(groups), 1.0)
    apart = {key: held[1] / held[0] - towards[key] for key, held in groups.items()}
    distances = math.fsum(groups[key][0] * distance**2 for key, distance in apart.items())
    spread = max((distances - noise * len(groups)) / total, 0.0)
    levels: dict[int, float] = {}
    for key, held in groups.items():
        error = noise / held[0]
        kept = spread / (spread + error) if spread > 0.0 else 0.0
        levels[key] = towards[key] + kept * apart[key]
    return levels
