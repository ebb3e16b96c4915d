# pyright: basic
"""The table on text streams: ours against ADWIN, KSWIN and online MMD, at the same measured time to a false alarm."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitors.detectors import classifier_bet, mewma
from monitors.detectors.blocks import Blocks
from monitors.detectors.classifier_bet import ClassifierBet
from monitors.detectors.mewma import Mewma
from monitors.features import Features
from tests.bench.drift_parts import rivals
from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.delays import Between, Delays, between, firsts, number, thresholds
from tests.bench.drift_parts.reference_loop import step_ns
from tests.bench.drift_parts.texts import Pools, stream

QUIET = 2_500
"""Events of a quiet stream; run lengths are cut off there."""
ONSET = 1_000
"""Quiet events before the drift: detectors are warm and not reset at the onset."""
RIVAL_RUNS = 15
ROWS = {
    ("new domains", 1.0): (30, 0.12),
    ("new domains", 0.5): (60, 0.12),
    ("new domains", 0.25): (170, 0.12),
    ("new domains", 0.1): (770, 0.12),
    ("out-of-scope", 0.25): (120, 0.05),
    ("out-of-scope", 0.1): (580, 0.05),
    ("banking77", 0.25): (95, 0.0),
    ("banking77", 0.1): (530, 0.0),
}
"""Bars: median delay, miss rate within the horizon."""


def horizon(share: float) -> int:
    """Events after the onset within which a drift must be told."""
    return 2_500 if share < 0.2 else 1_200


class Ours:
    """The two input detectors of the watch, at thresholds that the bench sets."""

    def __init__(self, reference: Sequence[str]) -> None:
        self._features, vectors = Features.fit(reference)
        self._chart = Mewma(self._features.size, math.inf)
        sessions = [str(i) for i in range(len(reference))]
        self._bet = ClassifierBet(reference, sessions)
        kept = self._bet.nearest.sessions
        blocks, of_kept = Blocks(sessions, [None] * len(sessions)), Blocks(kept, [None] * len(kept))
        self.own = {
            "mewma": lambda events: mewma.calibrate(vectors, blocks, events, 0),
            "classifier_bet": lambda events: classifier_bet.calibrate(self._bet, of_kept, events, 0),
        }
        """The product's own calibration: mean events between false alarms to threshold."""

    def reset(self) -> None:
        self._chart.reset()
        self._bet.reset()

    def update(self, text: str) -> dict[str, float]:
        """Statistics after one more prompt."""
        self._chart.update(self._features.transform(text))
        self._bet.update(text)
        return {"mewma": self._chart.statistic if self._chart.warm else 0.0, "classifier_bet": self._bet.statistic}


@dataclass(frozen=True)
class Calibrated:
    """Ours with thresholds."""

    ours: Ours
    at: dict[str, float]
    between: Between
    microseconds: float
    """CPU of both an event."""
    steps: float
    """The same in steps of the reference loop."""

    def first(self, texts: Sequence[str], onset: int) -> float:
        """Delay from the onset to the first alarm; minus one when one came before."""
        self.ours.reset()
        for index, text in enumerate(texts):
            found = self.ours.update(text)
            if any(found[name] > level for name, level in self.at.items()):
                return index - onset + 1.0 if index >= onset else -1.0
        return math.inf


def calibrated(pools: Pools, mean_events: float, streams: int) -> Calibrated:
    """Thresholds from quiet streams, and what the product's own calibration gives on the same ones."""
    ours = Ours(pools.reference)
    traces = {name: np.zeros((streams, QUIET)) for name in ("mewma", "classifier_bet")}
    loops, begun = [step_ns()], time.thread_time()
    for row in range(streams):
        ours.reset()
        for index, text in enumerate(stream(pools.live, (), 0.0, QUIET, QUIET, 1_000 + row)):
            for name, value in ours.update(text).items():
                traces[name][row, index] = value
    cost = (time.thread_time() - begun) / (streams * QUIET) * 1e6
    loops.append(step_ns())
    at, found = thresholds(traces, mean_events)
    print(f"quiet: {streams} streams of {QUIET:,}; ours together at the measured thresholds: one in {found}")
    own = {name: calibrate(2.0 * mean_events) for name, calibrate in ours.own.items()}
    together = np.min([firsts(traces[name], level) for name, level in own.items()], axis=0)
    print(f"       at the product's own calibration for {mean_events:,.0f}: one in {between(together, QUIET)}")
    return Calibrated(ours, at, found, cost, cost * 1e3 / (sum(loops) / len(loops)))


def delays(detectors: Calibrated, pools: Pools, source: str, share: float, runs: int) -> Delays:
    """Delays of ours."""
    length = ONSET + horizon(share)
    found = [
        detectors.first(stream(pools.live, pools.new[source], share, ONSET, length, 50_000 + seed), ONSET)
        for seed in range(runs)
    ]
    return Delays([d for d in found if d > 0], sum(d < 0 for d in found))


class Rivals:
    """ADWIN and KSWIN on scalars, MMD on embeddings, at thresholds for the same time between false alarms."""

    def __init__(self, pools: Pools, mean_events: float, streams: int) -> None:
        self._embedding = rivals.Embedding(pools.reference)
        texts = [*pools.live, *(text for new in pools.new.values() for text in new)]
        self._rows = self._embedding.of(texts)
        self._across = self._embedding.kernel(self._rows, self._embedding.reference).mean(axis=1).astype(float)
        self._at = {text: index for index, text in enumerate(texts)}
        quiet = [self._index(stream(pools.live, (), 0.0, QUIET, QUIET, 1_000 + n)) for n in range(streams)]
        all_traces = [self._traces(rows, n) for n, rows in enumerate(quiet)]
        self.levels: dict[str, float] = {}
        for name in all_traces[0]:
            level, _ = thresholds({name: np.stack([traces[name] for traces in all_traces])}, mean_events)
            self.levels[name] = level[name]
        self.deltas: dict[str, float] = {}
        for name in self._scalars(quiet[0]):
            for delta in rivals.DELTAS:
                found = [rivals.adwin_first(self._scalars(rows)[name], delta) for rows in quiet]
                if between(found, QUIET).mean >= mean_events:
                    self.deltas[name] = delta
                    break

    def _index(self, texts: Sequence[str]) -> list[int]:
        return [self._at[text] for text in texts]

    def _scalars(self, rows: list[int]) -> dict[str, rivals.Floats]:
        found = self._rows[rows]
        return {"centroid": self._embedding.distance(found), "first axis": found[:, 0].astype(float)}

    def _traces(self, rows: list[int], seed: int) -> dict[str, rivals.Floats]:
        found = rivals.mmd(self._embedding, self._rows[rows], self._across[rows])
        return found | {f"KSWIN {name}": rivals.kswin(x, seed) for name, x in self._scalars(rows).items()}

    def medians(self, pools: Pools, source: str, share: float) -> dict[str, Delays]:
        """Delays of each of them."""
        length = ONSET + horizon(share)
        found: dict[str, list[float]] = {}
        for seed in range(RIVAL_RUNS):
            rows = self._index(stream(pools.live, pools.new[source], share, ONSET, length, 50_000 + seed))
            for name, trace in self._traces(rows, seed).items():
                first = float(firsts(trace[None], self.levels[name])[0])
                found.setdefault(name, []).append(first - ONSET)
            for name, values in self._scalars(rows).items():
                if name in self.deltas:
                    first = rivals.adwin_first(values, self.deltas[name], ONSET)
                    found.setdefault(f"ADWIN {name}", []).append(first - ONSET)
        return {name: Delays([d for d in seen if d > 0], sum(d <= 0 for d in seen)) for name, seen in found.items()}


def table(bars: Bars, pools: Pools, mean_events: float, streams: int, runs: int) -> None:
    """All rows."""
    print(f"reference {len(pools.reference):,} prompts, live traffic from {len(pools.live):,} others")
    detectors = calibrated(pools, mean_events, streams)
    others = Rivals(pools, mean_events, streams)
    ok = detectors.between.low <= mean_events <= detectors.between.high
    bars.line("events between false alarms", str(detectors.between), f"holds {mean_events:,.0f}", ok)
    for (source, share), (most, missed) in ROWS.items():
        found = delays(detectors, pools, source, share, runs)
        bars.delay(f"{source} at {share:.0%}", found, most, missed, detectors.between.mean)
        seen = others.medians(pools, source, share)
        shown: list[str] = []
        for family in ("ADWIN", "KSWIN", "MMD"):
            mine = {name: d for name, d in seen.items() if name.startswith(family) and d.found}
            if mine:
                name = min(mine, key=lambda n: (mine[n].median, mine[n].missed))
                shown.append(f"{name} {number(mine[name].median)} (missed {mine[name].missed:.2f})")
        print(f"{'':40} against {', '.join(shown)}", flush=True)
    cost, steps = detectors.microseconds, detectors.steps
    print(f"both input detectors: {cost:.0f} microseconds an event, {steps:,.0f} steps of the reference loop")
