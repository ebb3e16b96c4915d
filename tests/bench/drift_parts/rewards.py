# pyright: basic
"""Rewards that fall from .80: e-SR against ADWIN and PageHinkley at the same measured time to a false alarm.

As the product is by default, soon after it began to watch and once its level is known; and with the level known well
from the start. The bars are for a level that is known from 2,000 rewards: with 300 of them its standard error alone is
half of a fall by 5 points, so that no bar is put to what falls soon. Nor to the delays at the product's own budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from river.drift import ADWIN, PageHinkley

from monitors.level import Level
from monitors.rewards_watch import SIGNALS
from monitors.self_starting import SelfStarting
from monitors.watch_config import WatchConfig
from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.delays import Delays, Traces, between, firsts, number, thresholds

USUAL = 0.80
BARS = {0.75: 300, 0.70: 105, 0.60: 46}
BARRED_FROM = 2_000
"""Rewards that a level is known from where the bars are put to it."""
QUIET, SOON, HORIZON = 6_000, 300, 3_000
"""Rewards of a quiet stream, before a fall, and after it."""
DELTAS = (0.3, 0.1, 0.03, 0.01, 0.002)
HEIGHTS = (10.0, 20.0, 30.0, 40.0, 50.0)
RIVAL_RUNS = 40
FALL: Final = SIGNALS[0]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How the usual level is known when the rewards fall."""

    name: str
    config: WatchConfig
    onset: int = SOON
    """Rewards before the fall that the watch has seen."""


_DEFAULT: Final = WatchConfig()
KNOWN: Final = (
    Knowledge("by default, soon", _DEFAULT),
    Knowledge("by default", _DEFAULT, _DEFAULT.reward_known),
    Knowledge("level known well", WatchConfig(reward_reference=2_000, reward_known=0, reward_errors=1.0)),
)


def rewards(mean: float, onset: int, length: int, seed: int) -> list[float]:
    """Thumbs at .80, from ``onset`` on at ``mean``."""
    rng = random.Random(seed)
    return [float(rng.random() < (USUAL if index < onset else mean)) for index in range(length)]


def detector(known: Knowledge, seed: int, threshold: float = math.inf) -> SelfStarting:
    """As the watch makes it, from a reference of its own."""
    level, count = Level(), known.config.reward_reference
    for value in rewards(USUAL, count, count, 10**6 + seed):
        level.append(value, None)
    level.settle(known.config.reward_clumping)
    fall = SelfStarting(FALL, level, known.config)
    fall.esr.threshold = threshold
    return fall


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
            fall.update(value, None)
            traces[row, index] = fall.esr.statistic
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
            theirs = _delays(mean, SOON, RIVAL_RUNS, lambda _row, make=make, setting=setting: make(setting))
            shown.append(f"{name} ({setting:g}) {number(theirs.median)} (missed {theirs.missed:.2f})")
        print(f"{f'reward .80 -> {mean:.2f}, rivals':40} {', '.join(shown)}", flush=True)


def _own(bars: Bars, known: Knowledge, mean_events: float, streams: int, runs: int) -> None:
    """e-SR with the level known in one way."""
    traces, config = _quiet(known, streams), known.config
    levels, found = thresholds({"esr": traces}, mean_events)
    own = between(firsts(traces, mean_events), QUIET)
    print(
        f"rewards, {known.name} (level from {config.reward_reference:,} rewards, {known.onset:,} after it, "
        f"{config.reward_errors:g} standard errors off): "
        f"e-SR at the measured {levels['esr']:,.0f}: one in {found}; at its own {mean_events:,.0f}: {own}"
    )
    for mean, most in BARS.items():
        delays = _own_delays(known, mean, runs, levels["esr"])
        name, rewards_known = f"reward .80 -> {mean:.2f}, {known.name}", config.reward_reference + known.onset
        if rewards_known < BARRED_FROM:
            bars.beside(name, delays, found.mean, f"the level is known from {rewards_known:,} rewards at most")
        else:
            bars.delay(name, delays, most, 0.05, found.mean)
    product = FALL.divisor * config.events_between_false_alarms
    shown: list[str] = []
    for mean in BARS:
        delays = _own_delays(known, mean, runs, product)
        shown.append(f"{mean:.2f} {number(delays.median)} (missed {delays.missed:.2f})")
    print(f"{f'at the product budget, {known.name}':40} {', '.join(shown)}", flush=True)


def _own_delays(known: Knowledge, mean: float, runs: int, threshold: float) -> Delays:
    def made(row: int) -> Callable[[float], bool]:
        fall = detector(known, 10**5 + row, threshold)
        return lambda value: fall.update(value, None)

    return _delays(mean, known.onset, runs, made)


def _delays(mean: float, onset: int, runs: int, make: Callable[[int], Callable[[float], bool]]) -> Delays:
    """Delays of detectors that are made anew for each row."""
    seen = [first(rewards(mean, onset, onset + HORIZON, 10**5 + row), make(row), onset) for row in range(runs)]
    return Delays([d for d in seen if d > 0], sum(d < 0 for d in seen))
