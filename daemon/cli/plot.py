"""E-values over units in a terminal: columns of block characters on a logarithmic scale, and the threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_MARGIN: Final = 9
"""Columns left of the drawing, for the scale."""


def resample(units: Sequence[int], values: Sequence[float], columns: int) -> list[float | None]:
    """One value a column over 0 to the last unit: the one in force at the column's right edge; None before the first.

    >>> resample([0, 2, 4], [0.0, 1.0, 2.0], 4)
    [0.0, 1.0, 1.0, 2.0]
    """
    most = max(units[-1], 1)
    found: list[float | None] = []
    at = -1
    for column in range(columns):
        edge = most * (column + 1) / columns
        while at + 1 < len(units) and units[at + 1] <= edge:
            at += 1
        found.append(values[at] if at >= 0 else None)
    return found


def scale(values: Sequence[float], threshold: float) -> tuple[float, float]:
    """(lowest, highest) decimal logarithm to draw: whole decades that hold 1, the threshold and the values."""
    top = max(math.log10(threshold) + 0.2, *values)
    low = max(min(0.0, *values), -2.0)
    return float(math.floor(low)) if low < 0 else 0.0, float(min(math.ceil(top), 9))


def panel(units: Sequence[int], values: Sequence[float], threshold: float, width: int, height: int) -> list[str]:
    """Lines of one chart, top first, with a scale on the left and units below it.

    ``values`` are decimal logarithms of e-values, one for each of ``units``. The threshold is the lower edge of the row
    that bears its number: a block in that row says that it was reached, dots that it was not.
    """
    columns = max(width - _MARGIN - 1, 10)
    drawn = resample(units, values, columns)
    limit = math.log10(threshold)
    low, high = scale(values, threshold)
    # The threshold is an edge between two rows; of those splits the one that shows the most.
    step, below = min((max((limit - low) / n, (high - limit) / (height - n)), n) for n in range(1, height))
    low = limit - below * step
    labels = {0: f"{10**low:.2g}", height - 1: f"{10 ** (low + height * step):.2g}", below: f"{threshold:g}"}
    lines: list[str] = []
    for row in range(height - 1, -1, -1):
        cells = "".join(_cell(value, low + row * step, step, row == below) for value in drawn)
        lines.append(f"{labels.get(row, ''):>{_MARGIN - 1}} ┤{cells}".rstrip())
    axis = "0" + f"{units[-1]} units".rjust(columns - 1)
    return [*lines, " " * _MARGIN + "└" + "─" * columns, " " * (_MARGIN + 1) + axis]


def _cell(value: float | None, edge: float, step: float, limit: bool) -> str:
    """One character: how far ``value`` fills the row whose lower edge is ``edge``."""
    filled = 0.0 if value is None else min(max((value - edge) / step, 0.0), 1.0)
    eighths = max(round(8 * filled), int(limit and value is not None and value >= edge))
    return "┄" if limit and eighths == 0 else _BLOCKS[eighths]
