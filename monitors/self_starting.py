"""e-SR whose level goes on being learned while it watches: a self-starting chart.

Self-starting charts (Hawkins, "Self-starting CUSUM charts for location and scale", The Statistician 1987) learn from
each value, those of a drift too, and so grow used to it. Here a value counts once nothing speaks for a change any more
that it could belong to: when the e-CUSUM beside the sums has lost what it won. Any p0 that is known before the value
keeps the guarantee of the sums.
"""

from __future__ import annotations

from typing import Any

from monitors.detectors.esr import Esr
from monitors.level import Level
from monitors.signals import Signal, armed, p0_of
from monitors.watch_config import WatchConfig


class SelfStarting:
    """A signal's detector and its level, which it extends until ``reward_known`` values."""

    def __init__(self, signal: Signal, level: Level, config: WatchConfig) -> None:
        """``level``: complete, and the signal's own."""
        self._signal, self._level, self._config = signal, level, config
        self.esr = armed(signal, level, config)
        self._open: tuple[int, float, float] = (0, 0.0, 0.0)
        """Values since nothing last spoke for a change: how many, their sum and that of their squares, without what
        their hours add."""

    def update(self, value: float, offset: float) -> bool:
        """One value in [0, 1] and what its hour usually adds; whether a change is told."""
        told = self.esr.update(value, offset)
        if self._level.count < self._config.reward_known:
            self._learn(value - offset)
        return told

    def _learn(self, adjusted: float) -> None:
        count, total, squares = self._open
        self._open = (count + 1, total + adjusted, squares + adjusted**2)
        if self.esr.quiet:
            self._level.extend(*self._open)
            self._open = (0, 0.0, 0.0)
            self.esr.relevel(p0_of(self._signal, self._level, self._config))

    def dump(self) -> dict[str, Any]:
        """JSON-able state, without the level."""
        return {**self.esr.dump(), "open": list(self._open)}

    @classmethod
    def load(cls, signal: Signal, level: Level, config: WatchConfig, stored: dict[str, Any]) -> SelfStarting:
        """Inverse of ``dump``. A state from before levels were extended has nothing open."""
        side = cls(signal, level, config)
        side.esr = Esr.load(stored)
        count, total, squares = stored.get("open", (0, 0.0, 0.0))
        side._open = (int(count), float(total), float(squares))
        return side
