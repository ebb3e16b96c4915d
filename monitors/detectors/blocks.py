"""Quiet traffic as it could have come: a block bootstrap of the reference over sessions and the hour of the week.

Prompts of one session are alike, and what people ask follows the clock. Streams are therefore dealt as whole sessions,
and a stream stays among the sessions of its hour for as long as the hour lasts (Künsch, "The jackknife and the
bootstrap for general stationary observations", Annals of Statistics 1989; for cycles Dudek et al., "A generalized block
bootstrap for seasonal time series", Journal of Time Series Analysis 2014). A threshold drawn from independent events
would take every evening for drift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HOUR_S = 3600.0
_WEEK_HOURS = 168
_LEAST_PROMPTS = 128
"""Prompts that an hour needs to stand alone; a thinner one joins its neighbour."""
_STREAMS_EACH = 16
"""Simulated streams that begin in each hour."""

Order = NDArray[np.int64]


class Blocks:
    """Sessions of a reference by hour of the week. ``hours`` of them are told apart: 1 where all lies in one hour."""

    def __init__(
        self, sessions: Sequence[str], times: Sequence[float | None], events_an_hour: float = math.inf
    ) -> None:
        """``times``: seconds since the epoch (UTC), of each prompt; ``events_an_hour``: of the whole traffic."""
        members = _members(sessions)
        self._size = len(sessions)
        self._flat: Order = np.array([i for member in members for i in member], dtype=np.int64)
        self._lengths: Order = np.array([len(member) for member in members], dtype=np.int64)
        self._begins: Order = np.cumsum(self._lengths) - self._lengths
        by_hour: dict[int, list[int]] = {}
        for number, member in enumerate(members):
            at = times[member[0]]
            hour = int(at // HOUR_S) % _WEEK_HOURS if at is not None else 0
            by_hour.setdefault(hour, []).append(number)
        merged = _merged([by_hour[hour] for hour in sorted(by_hour)], [len(member) for member in members])
        self._hours: list[Order] = [np.array(hour, dtype=np.int64) for hour in merged]
        spanned = events_an_hour * max(len(by_hour), 1)
        prompts = [int(self._lengths[hour].sum()) for hour in self._hours]
        self._lasts = [max(n / max(self._size, 1) * spanned, 1.0) for n in prompts]

    @property
    def hours(self) -> int:
        """Hours that are told apart."""
        return len(self._hours)

    def starts(self, least: int, each: int = _STREAMS_EACH) -> Order:
        """Hour in which each stream begins: at least ``least`` streams, and ``each`` where there are several hours."""
        return np.arange(least if self.hours == 1 else max(least, each * self.hours)) % self.hours

    def stream(self, start: int, length: int, rng: np.random.Generator, dealt: bool = False) -> Order:
        """Positions in the reference of one stream's prompts, shape (length,), from somewhere within hour ``start``.

        Sessions are drawn with replacement, or ``dealt`` like cards: none comes again before its hour is used up.
        """
        parts: list[Order] = []
        missing, hour = length, start
        left = self._lasts[start] * float(rng.random()) if self.hours > 1 else math.inf
        while missing:
            wanted = int(min(max(left, 1.0), missing))
            parts.append(self._within(self._hours[hour], wanted, rng, dealt))
            missing -= wanted
            hour = (hour + 1) % self.hours
            left = self._lasts[hour]
        return np.concatenate(parts)

    def resample(self, rng: np.random.Generator) -> Order:
        """A reference that could have been: whole sessions of all hours with replacement, shape (n,)."""
        everything = np.arange(len(self._lengths))
        return self._rows(self._drawn(everything, self._size, rng, False))[0][: self._size]

    def _within(self, hour: Order, length: int, rng: np.random.Generator, dealt: bool) -> Order:
        """Whole sessions at random times, each with the gaps that it had in the reference."""
        drawn = self._drawn(hour, length, rng, dealt)
        rows, first = self._rows(drawn)
        begin = np.repeat(rng.random(len(drawn)) * length, self._lengths[drawn])
        times = (begin + (rows - first)) % length
        return rows[:length][np.argsort(times[:length], kind="stable")]

    def _drawn(self, hour: Order, prompts: int, rng: np.random.Generator, dealt: bool) -> Order:
        """Numbers of sessions that hold at least ``prompts`` prompts together."""
        parts: list[Order] = []
        held = 0
        while held < prompts:
            part = rng.permutation(hour) if dealt else hour[rng.integers(len(hour), size=len(hour))]
            parts.append(part)
            held += int(self._lengths[part].sum())
        return np.concatenate(parts)

    def _rows(self, drawn: Order) -> tuple[Order, Order]:
        """Positions of the drawn sessions' prompts, and for each that of its session's first."""
        lengths, begins = self._lengths[drawn], self._begins[drawn]
        ends = np.cumsum(lengths)
        at = np.arange(int(ends[-1])) + np.repeat(begins - (ends - lengths), lengths)
        return self._flat[at], np.repeat(self._flat[begins], lengths)


def level(tops: NDArray[np.float64], starts: Order, length: int, mean_events: float) -> float:
    """Threshold at which streams like these are quiet for ``mean_events`` events on average, whatever hour it is.

    ``tops``: largest statistic of each stream of ``length`` events. With run lengths near geometric a stream stays
    below with probability exp(-length / mean_events). The hour with the highest median decides; the spread about the
    medians is taken from all hours together, since a few streams say little about a tail.
    """
    medians = np.array([np.median(tops[starts == hour]) for hour in range(int(starts.max()) + 1)])
    spread = tops - medians[starts]
    return float(medians.max() + np.quantile(spread, math.exp(-length / mean_events)))


def _members(sessions: Sequence[str]) -> list[list[int]]:
    """Positions of each session's events in the reference."""
    found: dict[str, list[int]] = {}
    for position, session in enumerate(sessions):
        found.setdefault(session, []).append(position)
    return list(found.values())


def _merged(hours: Sequence[list[int]], prompts: Sequence[int]) -> list[list[int]]:
    """Hours in turn, thin ones joined to the next; a thin last one joins the one before."""
    found: list[list[int]] = []
    waiting: list[int] = []
    for sessions in hours:
        waiting = [*waiting, *sessions]
        if sum(prompts[i] for i in waiting) >= _LEAST_PROMPTS:
            found.append(waiting)
            waiting = []
    if waiting:
        found = [*found[:-1], [*found[-1], *waiting]] if found else [waiting]
    return found
