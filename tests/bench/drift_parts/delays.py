# pyright: basic
"""Run lengths: thresholds for a measured time between false alarms, delays, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2

Traces = NDArray[np.float64]
"""Statistic of each quiet stream after each event, shape (streams, events)."""


@dataclass(frozen=True)
class Between:
    """Mean events between false alarms: events until the first alarm of each stream, over the alarms."""

    mean: float
    low: float
    high: float
    alarms: int

    def __str__(self) -> str:
        high = f"{self.high:,.0f}" if math.isfinite(self.high) else "-"
        return f"{self.mean:,.0f} [{self.low:,.0f}, {high}]"


def between(firsts: Sequence[float] | NDArray[np.float64], horizon: int) -> Between:
    """With its exact 95 % interval for exponential run lengths that are cut off at ``horizon``."""
    found = np.asarray(firsts, dtype=float)
    spent, alarms = float(np.minimum(found, horizon).sum()), int(np.isfinite(found).sum())
    low = 2.0 * spent / chi2.ppf(0.975, 2 * alarms + 2)
    high = 2.0 * spent / chi2.ppf(0.025, 2 * alarms) if alarms else math.inf
    return Between(spent / max(alarms, 0.5), float(low), float(high), alarms)


def firsts(traces: Traces, threshold: float) -> NDArray[np.float64]:
    """Event of the first alarm of each stream, from 1; infinity where none came."""
    over = traces > threshold
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1.0, np.inf)


def thresholds(traces: Mapping[str, Traces], mean_events: float) -> tuple[dict[str, float], Between]:
    """Thresholds at which the detectors together have ``mean_events`` between false alarms, each its equal share."""
    horizon = next(iter(traces.values())).shape[1]
    low, high = mean_events, 2.0 * len(traces) * mean_events
    for _ in range(14 if len(traces) > 1 else 0):
        each = math.sqrt(low * high)
        found = {name: _one(trace, each) for name, trace in traces.items()}
        together = np.min([firsts(traces[name], at) for name, at in found.items()], axis=0)
        low, high = (low, each) if between(together, horizon).mean >= mean_events else (each, high)
    found = {name: _one(trace, high if len(traces) > 1 else mean_events) for name, trace in traces.items()}
    together = np.min([firsts(traces[name], at) for name, at in found.items()], axis=0)
    return found, between(together, horizon)


def _one(traces: Traces, mean_events: float) -> float:
    """The smallest threshold with at least ``mean_events`` between false alarms."""
    tops = np.sort(traces.max(axis=1))[::-1]
    chosen = float(tops[0])
    for candidate in tops:
        if between(firsts(traces, float(candidate)), traces.shape[1]).mean < mean_events:
            break
        chosen = float(candidate)
    return chosen


@dataclass(frozen=True)
class Delays:
    """Delays of runs in which nothing was told before the onset; infinite ones were missed within the horizon."""

    found: Sequence[float]
    early: int = 0
    """Runs with a false alarm before the onset: left out."""

    @property
    def median(self) -> float:
        """Half of the runs are told by then."""
        return self.quantile(0.5)

    @property
    def missed(self) -> float:
        """Share of the runs."""
        return sum(math.isinf(d) for d in self.found) / max(len(self.found), 1)

    def quantile(self, share: float) -> float:
        """The smallest delay that this share of the runs does not exceed."""
        ordered = sorted(self.found)
        return ordered[min(max(math.ceil(share * len(ordered)) - 1, 0), len(ordered) - 1)] if ordered else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the median, from order statistics."""
        ordered, n = sorted(self.found), len(self.found)
        if not n:
            return 0.0, math.inf
        low, high = int(binom.ppf(0.025, n, 0.5)), int(binom.ppf(0.975, n, 0.5))
        return ordered[max(low - 1, 0)], ordered[min(high, n - 1)]


def number(value: float) -> str:
    """A count of events, or a dash for never."""
    return f"{value:,.0f}" if math.isfinite(value) else "-"
