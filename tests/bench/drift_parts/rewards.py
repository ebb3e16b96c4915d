# pyright: basic
"""Rewards that fall from .80: e-SR against ADWIN and PageHinkley at the same measured time to a false alarm."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from river.drift import ADWIN, PageHinkley

from monitors.detectors.esr import Esr, cautious_level
from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.delays import Delays, Traces, between, firsts, number, thresholds

USUAL = 0.80
BARS = {0.75: 300, 0.70: 105, 0.60: 46}
REFERENCE, QUIET, ONSET, HORIZON = 2_000, 6_000, 300, 3_000
ERRORS, CLUMPING = 1.0, 1.5
"""Standard errors of caution about the usual level, with 2,000 rewards to know it by."""
DELTAS = (0.3, 0.1, 0.03, 0.01, 0.002)
HEIGHTS = (10.0, 20.0, 30.0, 40.0, 50.0)
RIVAL_RUNS = 40


def rewards(mean: float, onset: int, length: int, seed: int) -> list[float]:
    """Thumbs at .80, from ``onset`` on at ``mean``."""
    rng = random.Random(seed)
    return [float(rng.random() < (USUAL if index < onset else mean)) for index in range(length)]


def detector(seed: int, threshold: float = math.inf) -> Esr:
    """As the watch makes it, from a reference of its own."""
    seen = rewards(USUAL, REFERENCE, REFERENCE, 10**6 + seed)
    mean = sum(seen) / REFERENCE
    return Esr("fall", cautious_level(mean, mean * (1 - mean), REFERENCE, "fall", ERRORS, CLUMPING), threshold)


def first(values: Sequence[float], tells: Callable[[float], bool], onset: int) -> float:
    """Delay to the first alarm after the onset; minus one when one came before."""
    for index, value in enumerate(values):
        if tells(value):
            return index - onset + 1.0 if index >= onset else -1.0
    return math.inf


def _quiet(streams: int) -> Traces:
    traces = np.zeros((streams, QUIET))
    for row in range(streams):
        fall = detector(row)
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
    traces = _quiet(streams)
    levels, found = thresholds({"esr": traces}, mean_events)
    own = between(firsts(traces, mean_events), QUIET)
    print(f"rewards: e-SR at the measured {levels['esr']:,.0f}: one in {found}; at its own {mean_events:,.0f}: {own}")
    rival_streams = min(streams, 40)
    rivals = {
        "ADWIN": (_adwin, _tuned(_adwin, DELTAS, mean_events, rival_streams)),
        "PageHinkley": (_page, _tuned(_page, HEIGHTS, mean_events, rival_streams)),
    }
    for mean, most in BARS.items():
        seen = [
            first(
                rewards(mean, ONSET, ONSET + HORIZON, 10**5 + row), detector(10**5 + row, levels["esr"]).update, ONSET
            )
            for row in range(runs)
        ]
        delays = Delays([d for d in seen if d > 0], sum(d < 0 for d in seen))
        bars.delay(f"reward .80 -> {mean:.2f}", delays, most, 0.05, found.mean)
        shown: list[str] = []
        for name, (make, setting) in rivals.items():
            theirs = [
                first(rewards(mean, ONSET, ONSET + HORIZON, 10**5 + row), make(setting), ONSET)
                for row in range(RIVAL_RUNS)
            ]
            kept = Delays([d for d in theirs if d > 0], sum(d < 0 for d in theirs))
            shown.append(f"{name} ({setting:g}) {number(kept.median)} (missed {kept.missed:.2f})")
        print(f"{'':40} against {', '.join(shown)}", flush=True)
