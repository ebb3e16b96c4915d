"""Scalars in [0, 1] that e-SR watches on one side, against a level that is learned from a reference."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.alarms import AlarmKind, Evidence
from monitors.detectors.esr import Esr, Side, cautious_level
from monitors.level import Level
from monitors.watch_config import WatchConfig


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector has told."""

    kind: AlarmKind
    detector: str
    primary: bool
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Signal:
    """One side of a scalar."""

    name: str
    side: Side
    kind: AlarmKind
    primary: bool
    divisor: float
    """Share of the deployment's budget: its threshold is this many times the events between false alarms."""


def p0_of(signal: Signal, level: Level, config: WatchConfig) -> float:
    """What a signal is compared with: its level, moved away from the alarm, since it is an estimate."""
    variance = max(level.variance, 0.25 / level.count)
    errors, clumping = config.reward_errors, config.reward_clumping
    return cautious_level(level.mean, variance, level.count, signal.side, errors, clumping)


def armed(signal: Signal, level: Level, config: WatchConfig) -> Esr:
    """The detector of a signal whose level is complete."""
    return Esr(signal.side, p0_of(signal, level, config), signal.divisor * config.events_between_false_alarms)
