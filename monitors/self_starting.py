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
from monitors.season import HourSums
from monitors.signals import Signal, armed, p0_of
from monitors.watch_config import WatchConfig


class SelfStarting:
    """A signal's detector and its level, which it extends until that is known (``Level.learns``)."""

    def __init__(self, signal: Signal, level: Level, config: WatchConfig) -> None:
        """``level``: complete, and the signal's own."""
        self._signal, self._level, self._config = signal, level, config
        self.esr = armed(signal, level, config)
        self._open = HourSums()
        """Values since nothing last spoke for a change."""

    def update(self, value: float, at: float | None) -> bool:
        """One value in [0, 1] and its time, seconds since the epoch; whether a change is told."""
        told = self.esr.update(value, self._level.cautious(at, self._signal.side, self._config.reward_errors))
        if self._level.learns(self._config.reward_known):
            self._learn(value, at)
        return told

    def _learn(self, value: float, at: float | None) -> None:
        if self.esr.quiet and not self._open.count:  # as most values are
            self._level.append(value, at)
        else:
            self._open.append(value, at)
            self._level.cover(at)
            if not self.esr.quiet:
                return
            self._level.extend(self._open)
            self._open = HourSums()
        self._level.follow(at)
        self.esr.relevel(p0_of(self._signal, self._level, self._config))

    def dump(self) -> dict[str, Any]:
        """JSON-able state, without the level."""
        return {**self.esr.dump(), "open": self._open.dump()}

    @classmethod
    def load(cls, signal: Signal, level: Level, config: WatchConfig, stored: dict[str, Any]) -> SelfStarting:
        """Inverse of ``dump``. What an earlier release had open has no hours, and is not learned from."""
        side = cls(signal, level, config)
        side.esr = Esr.load(stored)
        held = stored.get("open")
        side._open = HourSums() if held is None or isinstance(held, list) else HourSums.load(held)
        return side
