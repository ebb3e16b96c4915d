# pyright: basic
"""Rewards that fall from .80: e-SR against ADWIN and PageHinkley at the same measured time to a false alarm.

Twice: with the usual level known as the product knows it by default, and known well, from 2,000 rewards.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from river.drift import ADWIN, PageHinkley

from monitors.detectors.esr import Esr, cautious_level
from monitors.watch_config import WatchConfig
from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.delays import Delays, Traces, between, firsts, number, thresholds

USUAL = 0.80
BARS = {0.75: 300, 0.70: 105, 0.60: 46}
QUIET, ONSET, HORIZON = 6_000, 300, 3_000
DELTAS = (0.3, 0.1, 0.03, 0.01, 0.002)
HEIGHTS = (10.0, 20.0, 30.0, 40.0, 50.0)
RIVAL_RUNS = 40


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How the usual level is known."""

    name: str
    reference: int
    """Rewards that it is estimated from."""
    errors: float
    """Standard errors of caution."""


_DEFAULT: Final = WatchConfig()
KNOWN: Final = (
    Knowledge("by default", _DEFAULT.reward_reference, _DEFAULT.reward_errors),
    Knowledge("level known well", 2_000, 1.0),
)


def rewards(mean: float, onset: int, length: int, seed: int) -> list[float]:
    """Thumbs at .80, from ``onset`` on at ``mean``."""
    rng = random.Random(seed)
    return [float(rng.random() < (USUAL if index < onset else mean)) for index in range(length)]


def detector(known: Knowledge, seed: int, threshold: float = math.inf) -> Esr:
    """As the watch makes it, from a reference of its own."""
    count = known.reference
    mean = sum(rewards(USUAL, count, count, 10**6 + seed)) / count
    cautious = cautious_level(mean, mean * (1 - mean), count, "fall", known.errors, _DEFAULT.reward_clumping)
    return Esr("fall", cautious, threshold)


def first(values: Sequence[float], tells: Callable[[float], bool], onset: int) -> float:
    """Delay to the first alarm after the onset; minus one when one came before."""
    for index, value in enumerate(values):
        if tells(value):
            return index - onset + 1.0 if index >= onset else -1.0
    return math.inf


def _quiet(known: Knowledge, streams: int) -> Traces:
    traces = np.zeros((streams, QUIET))
    for row in range(streams):
        fall = detector(known, row)
        for index, value in enumerate(rewards(USUAL, QUIET, QUIET, row)):
            fall.update(value)
            traces[row, index] = fall.statistic
    return traces


def _adwin(delta: float) -> Callable[[float], bool]:
    found = ADWIN(delta=delta)

    def tells(value: float) -> bool:
        found.update(value)
        return bool(found.drift_detected)

    return tells


def _page(height: float) -> Callable[[float], bool]:
    found = PageHinkley(delta=0.005, threshold=height, mode="down")

    def tells(value: float) -> bool:
        found.update(value)
        return bool(found.drift_detected)

    return tells


def _tuned(
    make: Callable[[float], Callable[[float], bool]], grid: Sequence[float], mean_events: float, streams: int
) -> float:
    """The first setting with enough events between false alarms, else the last."""
    for setting in grid:
        found = [first(rewards(USUAL, QUIET, QUIET, row), make(setting), 0) for row in range(streams)]
        if between(found, QUIET).mean >= mean_events:
            return setting
    return grid[-1]


def table(bars: Bars, mean_events: float, streams: int, runs: int) -> None:
    """All falls."""
    for known in KNOWN:
        _own(bars, known, mean_events, streams, runs)
    few = min(streams, RIVAL_RUNS)
    rivals = {
        "ADWIN": (_adwin, _tuned(_adwin, DELTAS, mean_events, few)),
        "PageHinkley": (_page, _tuned(_page, HEIGHTS, mean_events, few)),
    }
    for mean in BARS:
        shown: list[str] = []
        for name, (make, setting) in rivals.items():
            theirs = _delays(mean, RIVAL_RUNS, lambda _row, make=make, setting=setting: make(setting))
            shown.append(f"{name} ({setting:g}) {number(theirs.median)} (missed {theirs.missed:.2f})")
        print(f"{f'reward .80 -> {mean:.2f}, rivals':40} {', '.join(shown)}", flush=True)


def _own(bars: Bars, known: Knowledge, mean_events: float, streams: int, runs: int) -> None:
    """e-SR with the level known in one way."""
    traces = _quiet(known, streams)
    levels, found = thresholds({"esr": traces}, mean_events)
    own = between(firsts(traces, mean_events), QUIET)
    print(
        f"rewards, {known.name} (from {known.reference:,} rewards, {known.errors:g} standard errors off): "
        f"e-SR at the measured {levels['esr']:,.0f}: one in {found}; at its own {mean_events:,.0f}: {own}"
    )
    for mean, most in BARS.items():
        delays = _delays(mean, runs, lambda row: detector(known, 10**5 + row, levels["esr"]).update)
        bars.delay(f"reward .80 -> {mean:.2f}, {known.name}", delays, most, 0.05, found.mean)


def _delays(mean: float, runs: int, make: Callable[[int], Callable[[float], bool]]) -> Delays:
    """Delays of detectors that are made anew for each row."""
    seen = [first(rewards(mean, ONSET, ONSET + HORIZON, 10**5 + row), make(row), ONSET) for row in range(runs)]
    return Delays([d for d in seen if d > 0], sum(d < 0 for d in seen))
