"""Bars: one line each with figure, interval and whether it held."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.bench.drift_parts.delays import Delays, number


@dataclass
class Bars:
    """Prints a line for each bar and counts them."""

    held: int = 0
    missed: int = 0
    names: list[str] = field(default_factory=list[str])

    def delay(self, name: str, delays: Delays, most: float, most_missed: float, between: float) -> None:
        """Median delay and miss rate; ``between``: events between false alarms, for the level of chance."""
        ok = delays.median <= most and delays.missed <= most_missed
        self.line(name, _figure(delays, between), f"<= {most:,.0f}, missed <= {most_missed:.2f}", ok)

    def beside(self, name: str, delays: Delays, between: float, why: str) -> None:
        """The same where there is no bar, and why there is none."""
        print(f"{name:40} {_figure(delays, between):84} no bar: {why}", flush=True)

    def line(self, name: str, figure: str, bar: str, ok: bool) -> None:
        """Any other bar."""
        self.held += ok
        self.missed += not ok
        self.names += [] if ok else [name]
        print(f"{name:40} {figure:84} bar {bar:24} {'held' if ok else 'missed'}", flush=True)

    def total(self) -> None:
        """The last line."""
        print(f"bars: {self.held} held, {self.missed} missed", flush=True)


def _figure(delays: Delays, between: float) -> str:
    low, high = delays.interval
    chance = 1.0 - 2.718281828459045 ** (-min(delays.median, 1e9) / between)
    return (
        f"median {number(delays.median):>5} [{number(low)}, {number(high)}]  p90 {number(delays.quantile(0.9)):>5}"
        f"  missed {delays.missed:.2f}  by chance {chance:.3f}  runs {len(delays.found)} (+{delays.early} early)"
    )
