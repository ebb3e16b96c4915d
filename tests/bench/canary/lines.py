"""One printed figure with its interval and, where there is one, its bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Line:
    """A measurement; it is held when the figure is at most the bar."""

    name: str
    kind: Literal["rate", "units"]
    figure: float
    low: float
    high: float
    runs: int
    bar: float | None = None

    @property
    def held(self) -> bool | None:
        """None without a bar."""
        return None if self.bar is None else self.figure <= self.bar

    def __str__(self) -> str:
        show = _rate if self.kind == "rate" else _units
        end = "" if self.bar is None else f" {show(self.bar):>8}  {'held' if self.held else 'missed'}"
        interval = f"[{show(self.low)}, {show(self.high)}]"
        return f"{self.name:<62} {show(self.figure):>8} {interval:>18} {self.runs:>6}{end}"


HEADER = f"{'':<62} {'figure':>8} {'95 % interval':>18} {'runs':>6} {'bar':>8}"


def rate(name: str, happened: int, runs: int, bar: float | None = None) -> Line:
    """A share of runs with Wilson's interval."""
    p, z = happened / runs, 1.96
    centre, half = p + z * z / (2 * runs), z * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
    scale = 1 + z * z / runs
    return Line(name, "rate", p, max((centre - half) / scale, 0.0), (centre + half) / scale, runs, bar)


def median(name: str, found: Sequence[float] | NDArray[np.float64], bar: float | None = None) -> Line:
    """The median of times to a decision (never: infinity), with the interval of its order statistics."""
    times, runs = np.sort(np.asarray(found, dtype=np.float64)), len(found)
    half = 0.98 * math.sqrt(runs)
    low, high = max(int(runs / 2 - half), 0), min(math.ceil(runs / 2 + half), runs - 1)
    return Line(name, "units", float(times[runs // 2]), float(times[low]), float(times[high]), runs, bar)


def _rate(value: float) -> str:
    return f"{value:.4f}"


def _units(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"
