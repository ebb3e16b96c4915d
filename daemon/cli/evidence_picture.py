"""All e-values of a rollout over its units in one picture: stairs on a logarithmic scale, the threshold, the phases."""

from __future__ import annotations

import math
from typing import Any, Final

from daemon.cli.plot import resample, scale
from daemon.cli.raster import COLOURS, GLYPH_WIDTH, GREY, INK, PALE, Canvas

WIDTH, HEIGHT = 1200, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 420, 62, 56
_THICK: Final = 3


def picture(title: str, path: dict[str, Any]) -> bytes:
    """The PNG of an ``EvidencePath`` as the API gives it."""
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text(_LEFT, 14, title[: (WIDTH - _LEFT) // (2 * GLYPH_WIDTH)], INK)
    moved = {name: values for name, values in path["log10_e"].items() if any(values)}
    limits = sorted({float(path["thresholds"][name]) for name in path["log10_e"]})
    last = max(int(path["units"][-1]), 1)
    low, high = scale([value for values in moved.values() for value in values] or [0.0], limits[-1])
    columns, rows = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def y_of(value: float) -> int:
        share = (min(max(value, low), high) - low) / (high - low)
        return _TOP + round(rows * (1.0 - share))

    for decade in range(math.ceil(low), math.floor(high) + 1):
        canvas.fill(_LEFT, y_of(decade), columns, 1, PALE)
        label = f"{10.0**decade:g}"
        canvas.text(_LEFT - 12 - 2 * GLYPH_WIDTH * len(label), y_of(decade) - 7, label, INK)
    for threshold in limits:
        y = y_of(math.log10(threshold))
        for x in range(_LEFT, _LEFT + columns, 12):
            canvas.fill(x, y, min(7, _LEFT + columns - x), 2, INK)
        canvas.text(_LEFT + columns + 10, y - 7, f"e {threshold:g}", INK)
    top = y_of(math.log10(limits[-1]))
    for n, mark in enumerate(path["marks"]):
        x = _LEFT + round(columns * min(int(mark["units"]) / last, 1.0))
        canvas.fill(x, _TOP, 1, rows, GREY)
        phase = str(mark["phase"]).replace("_", " ")
        canvas.text(min(x + 4, WIDTH - GLYPH_WIDTH * len(phase)), _TOP - 22 + 10 * (n % 2), phase, INK, scale=1)
    for n, (name, values) in enumerate(moved.items()):
        colour = COLOURS[n % len(COLOURS)]
        before: int | None = None
        for column, value in enumerate(resample(path["units"], values, columns)):
            if value is None:
                continue
            y = y_of(value)
            upper, lower = min(y, y if before is None else before), max(y, y if before is None else before)
            canvas.fill(_LEFT + column, upper - _THICK // 2, 1, lower - upper + _THICK, colour)
            before = y
        at = _TOP + 26 * n + (190 if top < _TOP + 180 else 0)
        canvas.fill(_LEFT + columns + 10, at + 5, 18, 5, colour)
        canvas.text(_LEFT + columns + 36, at, f"{name.replace('_', ' ')} {10.0 ** values[-1]:.3g}", INK)
    canvas.fill(_LEFT, _TOP + rows, columns, 2, INK)
    canvas.text(_LEFT, HEIGHT - _BOTTOM + 14, "0", INK)
    label = f"{last} units"
    canvas.text(_LEFT + columns - 2 * GLYPH_WIDTH * len(label), HEIGHT - _BOTTOM + 14, label, INK)
    return canvas.png()
