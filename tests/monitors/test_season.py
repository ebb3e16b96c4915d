"""A mix that follows the clock is not drift, where the reference has seen the clock go round."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from monitors.alarms import Alarm
from monitors.confirm import Seen
from monitors.detectors.blocks import Blocks, level
from monitors.warming import Warming
from monitors.watch import Watch, WatchConfig
from streams.events import Exchange
from tests.monitors.traffic import exchange, prompt

DAY = 86_400.0
A_DAY = 1_600
"""Exchanges of a day."""


def days(first: float, count: float, seed: int, new: float = 0.0) -> Iterator[Exchange]:
    """Desks a and b by day, c and d by night, in a smooth change; ``new``: share of a desk never seen."""
    rng = random.Random(seed)
    for index in range(int(first * A_DAY), int((first + count) * A_DAY)):
        at = index / A_DAY * DAY
        night = 0.5 - 0.45 * math.cos(2.0 * math.pi * at / DAY)
        desk = rng.choice("cd") if rng.random() < night else rng.choice("ab")
        desk = "new" if rng.random() < new else desk
        made = exchange(index, prompt(desk, rng), f"s{index}", f"u{index % 700}")
        yield made.model_copy(update={"received_at": at, "dispatched_at": at, "completed_at": at + 0.1})


def feed(watch: Watch, events: Iterator[Exchange]) -> list[Alarm]:
    return [alarm for event in events for alarm in watch.observe_exchange(event) if alarm.primary]


@pytest.mark.slow
def test_a_daily_cycle_does_not_alarm_and_a_new_desk_within_it_does() -> None:
    config = WatchConfig(reference_size=1200, reference_span_s=DAY)
    watch = Watch(config, seed=1)
    feed(watch, days(0.0, 1.01, 1))
    assert watch.phase == "watching" and not watch.coverage.short and watch.coverage.covers_s >= DAY
    assert not any(alarm.acts for alarm in feed(watch, days(1.01, 2.0, 2)))
    told = [alarm for alarm in feed(watch, days(3.01, 0.4, 3, new=0.5)) if alarm.acts]
    assert len(told) == 1 and told[0].cause == "new_inputs"


@pytest.mark.slow
def test_a_reference_of_one_morning_takes_the_evening_for_drift() -> None:
    """The same traffic without the span: what the setting is for."""
    watch = Watch(WatchConfig(reference_size=400), seed=1)
    (told, *_) = (alarm for alarm in feed(watch, days(0.0, 1.0, 1)) if alarm.acts)
    assert watch.coverage.short and told.evidence["reference_s"] == pytest.approx(399 / A_DAY * DAY), "it says so"


def test_blocks_keep_hours_and_sessions_together() -> None:
    sessions = [f"s{i // 2}" for i in range(800)]
    times = [(i // 200) * 3600.0 for i in range(800)]
    blocks, rng = Blocks(sessions, times, 200.0), np.random.default_rng(0)
    assert blocks.hours == 4
    stream = blocks.stream(2, 90, rng)
    assert stream.shape == (90,) and set((stream[:1] // 200).tolist()) == {2}
    hours: list[int] = (stream // 200).tolist()
    assert all(b in (a, (a + 1) % 4) for a, b in pairwise(hours))
    dealt = blocks.stream(0, 100, np.random.default_rng(1), dealt=True)
    assert len(set(dealt.tolist())) == 100
    assert len(blocks.resample(rng)) == 800
    assert Blocks(sessions, [None] * 800).hours == 1


def test_the_worst_hour_sets_the_level() -> None:
    rng = np.random.default_rng(0)
    starts = np.arange(4000) % 4
    tops = rng.normal(size=4000)
    calm = level(tops, starts, 100, 1_000.0)
    assert calm == pytest.approx(1.31, abs=0.15)  # the .905 quantile of the normal
    assert level(tops + 3.0 * (starts == 2), starts, 100, 1_000.0) == pytest.approx(calm + 3.0, abs=0.2)


def test_a_watch_that_warms_up_says_how_far_it_is_and_is_not_short() -> None:
    watch = Watch(WatchConfig(reference_size=400, reference_span_s=DAY), seed=1)
    feed(watch, days(0.0, 0.5, 1))
    seen = watch.coverage
    assert (seen.phase, seen.prompts, seen.prompts_wanted, seen.short) == ("warming", 800, 400, False)
    assert seen.covers_s == pytest.approx(799 / A_DAY * DAY) and seen.wanted_s == DAY and not seen.rewards_watched
    assert Watch.load(WatchConfig(reference_size=400, reference_span_s=DAY), watch.dump()).coverage == seen


def test_warming_waits_for_the_span_and_thins_by_whole_sessions() -> None:
    warming = Warming(100, 1_000.0)
    for i in range(1_000):
        assert not warming.full
        warming.append(Seen(f"t{i}", f"s{i // 3}", None, float(i)))
        if i % 211 == 0:
            warming = Warming.load(100, 1_000.0, warming.dump())
    warming.append(Seen("last", "s-last", None, 1_000.0))
    assert warming.full and 80 <= len(warming.held) <= 100
    kept = [s.session for s in warming.held if s.session not in ("s-last", "s333")]
    assert all(kept.count(name) == 3 for name in kept)
    assert warming.events_an_hour == pytest.approx(1_001 * 3.6)
