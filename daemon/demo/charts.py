"""Line charts as inline SVG: no script, no font, no file beside the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

MARK_ROWS, ROW, LETTER = 4, 12, 6
"""Rows of words above a chart, pixels a row, pixels a letter."""
WIDTH, HEIGHT = 860, 258
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 10 + MARK_ROWS * ROW, 26
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#64748b", "#be185d")


@dataclass(frozen=True, slots=True)
class Line:
    """One series: (seconds, value) points in order of time."""

    name: str
    points: Sequence[tuple[float, float]]
    step: bool = False
    """Draw as a staircase: the value holds until the next point."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line with a word."""

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class Axes:
    """Ranges of a chart, seconds and values; ``log`` takes values to powers of ten."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def px(self, seconds: float) -> float:
        """Horizontal pixel."""
        low, high = self.x
        return LEFT + (WIDTH - LEFT - RIGHT) * (seconds - low) / max(high - low, 1e-9)

    def py(self, value: float) -> float:
        """Vertical pixel."""
        low, high = (self._scale(v) for v in self.y)
        share = (self._scale(value) - low) / max(high - low, 1e-9)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - min(max(share, 0.0), 1.0))

    def _scale(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def chart(title: str, lines: Sequence[Line], marks: Sequence[Mark], axes: Axes, level: float | None = None) -> str:
    """One chart with its legend; ``level`` draws a dashed horizontal line (a threshold)."""
    parts = [
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">',
        _grid(axes),
    ]
    if level is not None:
        y = axes.py(level)
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts += [_mark(mark, axes, row) for mark, row in _in_rows(marks, axes)]
    parts += [_line(line, axes, i) for i, line in enumerate(lines)]
    return "".join(parts) + "</svg></figure>"


def _grid(axes: Axes) -> str:
    low, high = axes.y
    if axes.log:
        bottom, top = math.floor(math.log10(max(low, 1e-12))), math.ceil(math.log10(max(high, 1e-12)))
        every = max(1, (top - bottom) // 5)
        values = [10.0**k for k in range(bottom, top + 1, every)]
    else:
        values = [low + (high - low) * k / 4 for k in range(5)]
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axes.py(v):.1f}" y2="{axes.py(v):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{axes.py(v) + 4:.1f}" text-anchor="end">{v:.3g}</text>'
        for v in values
    ]
    first, last = axes.x
    for k in range(7):
        seconds = first + (last - first) * k / 6
        parts.append(f'<text x="{axes.px(seconds):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{seconds:.0f} s</text>')
    return "".join(parts)


def _in_rows(marks: Sequence[Mark], axes: Axes) -> list[tuple[Mark, int | None]]:
    """Each mark with the first row in which its word touches no other one; None where all are taken."""
    ends = [float("-inf")] * MARK_ROWS
    placed: list[tuple[Mark, int | None]] = []
    for mark in sorted(marks, key=lambda m: m.at):
        start = axes.px(mark.at)
        row = next((r for r, end in enumerate(ends) if start >= end), None)
        if row is not None:
            ends[row] = start + LETTER * (len(mark.name) + 1)
        placed.append((mark, row))
    return placed


def _mark(mark: Mark, axes: Axes, row: int | None) -> str:
    x = axes.px(mark.at)
    top = TOP if row is None else ROW * (row + 1)
    word = "" if row is None else f'<text class="mark" x="{x + 3:.1f}" y="{top}">{escape(mark.name)}</text>'
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{escape(mark.name)}</title></line>{word}"
    )


def _line(line: Line, axes: Axes, row: int) -> str:
    colour = COLOURS[row % len(COLOURS)]
    legend = (
        f'<rect x="{WIDTH - RIGHT + 10}" y="{TOP + 16 * row}" width="10" height="10" fill="{colour}"/>'
        f'<text x="{WIDTH - RIGHT + 25}" y="{TOP + 9 + 16 * row}">{escape(line.name[:22])}</text>'
    )
    points: list[str] = []
    before: float | None = None
    for seconds, value in line.points:
        x, y = axes.px(seconds), axes.py(value)
        if line.step and before is not None:
            points.append(f"{x:.1f},{before:.1f}")
        points.append(f"{x:.1f},{y:.1f}")
        before = y
    return legend + f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{" ".join(points)}"/>'
