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

    ``values`` are decimal logarithms of e-values, one for each of ``units``. The row of the threshold is dotted where
    nothing is drawn.
    """
    columns = max(width - _MARGIN - 1, 10)
    drawn = resample(units, values, columns)
    low, high = scale(values, threshold)
    step = (high - low) / height
    limit = min(int((math.log10(threshold) - low) / step), height - 1)
    lines: list[str] = []
    for row in range(height - 1, -1, -1):
        cells: list[str] = []
        for value in drawn:
            filled = 0.0 if value is None else (min(max(value, low), high) - low) / step - row
            eighths = round(8 * min(max(filled, 0.0), 1.0))
            cells.append("┄" if eighths == 0 and row == limit else _BLOCKS[eighths])
        lines.append(f"{_label(row, limit, low, step, height, threshold):>{_MARGIN - 1}} ┤{''.join(cells)}".rstrip())
    last = str(units[-1])
    axis = "0" + f"{last} units".rjust(columns - 1)
    return [*lines, " " * _MARGIN + "└" + "─" * columns, " " * (_MARGIN + 1) + axis]


def _label(row: int, limit: int, low: float, step: float, height: int, threshold: float) -> str:
    if row == limit:
        return f"{threshold:g}"
    if row == height - 1:
        return f"{10 ** (low + step * height):g}"
    return f"{10**low:g}" if row == 0 else ""
