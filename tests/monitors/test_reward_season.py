"""Rewards that follow the clock are no drift where the reference has seen a week, and a fall inside the cycle is."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator

import pytest

from monitors.detectors.esr import Esr, cautious_level
from monitors.feedback_rate import FeedbackRate
from monitors.level import Level
from monitors.rewards_watch import RewardWatch
from monitors.season import WEEK_S, HourSums, Season, hour_of_week
from monitors.signals import Found
from monitors.watch_config import WatchConfig

DAY = 86_400.0
AN_HOUR = 12
"""Rewards."""


def usual(at: float) -> float:
    """.90 at noon, .60 at midnight, and a little less at the weekend."""
    hour = hour_of_week(at)
    return 0.75 - 0.15 * math.cos(2.0 * math.pi * (hour % 24) / 24.0) - 0.05 * (hour >= 120)


def rewards(first: float, days: float, seed: int, fall: float = 0.0) -> Iterator[tuple[float, float]]:
    """Times and thumbs of ``days`` from day ``first`` on."""
    rng = random.Random(seed)
    for number in range(int(days * 24 * AN_HOUR)):
        at = first * DAY + number * 3600.0 / AN_HOUR
        yield at, float(rng.random() < usual(at) - fall)


def learned(seed: int, weeks: float = 1.0) -> Level:
    level = Level()
    for at, value in rewards(0.0, 7.0 * weeks + 0.01, seed):
        level.append(value, at)
    level.settle(clumping=1.0)
    return level


def test_a_week_tells_what_each_hour_of_it_adds() -> None:
    level = learned(1, weeks=4.0)
    at = [hour * 3600.0 for hour in range(168)]
    errors = [level.mean + level.offset(t) - usual(t) for t in at]
    # 48 rewards an hour leave .06 each; drawing the days together halves it. One level would be .11 off.
    assert math.sqrt(sum(e * e for e in errors) / 168) < 0.045
    assert level.variance == pytest.approx(0.1827, abs=0.005), "about its hour; about the mean it would be .1944"


def test_a_day_tells_what_the_hours_of_any_day_add_and_less_tells_nothing() -> None:
    level = learned(1, weeks=0.9)
    assert [level.offset(hour * 3600.0) for hour in range(24)] * 7 == [level.offset(h * 3600.0) for h in range(168)]
    errors = [level.offset(hour * 3600.0) + 0.15 * math.cos(hour * math.pi / 12.0) for hour in range(24)]
    assert math.sqrt(sum(e * e for e in errors) / 24) < 0.06, "flat it would be .106 off"
    short = learned(1, weeks=0.14)
    assert {short.offset(hour * 3600.0) for hour in range(168)} == {0.0}


def test_rewards_that_do_not_follow_the_clock_have_one_level() -> None:
    rng, sums = random.Random(2), HourSums()
    for number in range(2_100):
        sums.append(float(rng.random() < 0.7), number * WEEK_S / 2_000)
    adds = sums.fit(1.5).adds
    assert len(adds) == 168 and max(map(abs, adds)) < 0.02


def test_values_without_a_time_have_no_hour() -> None:
    level = Level()
    for value in (0.0, 1.0, 1.0):
        level.append(value, None)
    level.settle(1.0)
    assert level.mean == pytest.approx(2 / 3) and level.offset(None) == level.offset(3600.0) == 0.0
    assert Season((0.5,) * 168).offset(math.nan) == 0.0


def test_what_the_hours_add_outlives_a_new_version() -> None:
    level = learned(3)
    before = [level.offset(hour * 3600.0) for hour in range(168)]
    level.forget()
    assert level.spans(WEEK_S), "no second week of waiting"
    for at, value in rewards(8.0, 1.0, 4):
        level.append(min(value + 0.1, 1.0), at)
    level.settle(1.0)
    assert [level.offset(hour * 3600.0) for hour in range(168)] == before
    again = Level.load(json.loads(json.dumps(level.dump())))
    assert again.dump() == level.dump() and again.mean == level.mean


def quiet_for(level: Level, follows: bool, seed: int, events: int, threshold: float) -> int:
    """Rewards until a false alarm, at most ``events``."""
    side = Esr("fall", cautious_level(level.mean, level.variance, level.count, "fall", 2.0, 1.0), threshold)
    for number, (at, value) in enumerate(rewards(8.0, events / AN_HOUR / 24.0, seed)):
        if side.update(value, level.offset(at) if follows else 0.0):
            return number + 1
    return events


@pytest.mark.slow
def test_a_daily_cycle_keeps_the_time_to_a_false_alarm() -> None:
    """At least 1,000 rewards between false alarms, as the threshold says; with one level the first night alarms."""
    level, runs = learned(5, weeks=2.0), 40
    follows = sum(quiet_for(level, True, 100 + n, 3_000, 1_000.0) for n in range(runs)) / runs
    one = sum(quiet_for(level, False, 100 + n, 3_000, 1_000.0) for n in range(runs)) / runs
    alarms = sum(quiet_for(level, True, 100 + n, 3_000, 1_000.0) < 3_000 for n in range(runs))
    assert follows * runs / max(alarms, 1) >= 1_000
    assert one < 600


def watched(watch: RewardWatch, events: Iterator[tuple[float, float]], first: int) -> list[tuple[int, Found]]:
    found: list[tuple[int, Found]] = []
    for number, (at, reward) in enumerate(events):
        index = first + 3 * number
        told = watch.observe(f"u{index}", reward, index, False, None, "text", at)
        found += [(number, one) for one in told]
        if number % 997 == 0:
            watch = RewardWatch.load(CONFIG, json.loads(json.dumps(watch.dump())))
    return found


CONFIG = WatchConfig(reference_span_s=WEEK_S, events_between_false_alarms=5_000)


@pytest.mark.slow
def test_the_watch_is_quiet_through_two_weeks_of_nights_and_tells_a_fall() -> None:
    watch = RewardWatch(CONFIG)
    for number, (at, reward) in enumerate(rewards(0.0, 7.01, 6)):
        assert not watch.observe(f"u{number}", reward, 3 * number, False, None, "text", at), "nothing is told unlearned"
    assert watch.takes
    quiet = RewardWatch.load(CONFIG, watch.dump())
    assert not [one for _, one in watched(quiet, rewards(7.01, 14.0, 7), 10_000) if one.primary]
    told = [(n, one) for n, one in watched(watch, rewards(7.01, 3.0, 8, fall=0.2), 10_000) if one.primary]
    assert len(told) == 1 and told[0][1].evidence["direction"] == "fall" and told[0][0] < 24 * AN_HOUR


@pytest.mark.slow
def test_the_share_of_rated_exchanges_follows_the_clock_too() -> None:
    """One exchange in two is rated by day and one in ten at night."""

    def told(rate: FeedbackRate, quiet_after: float) -> list[float]:
        rng, found = random.Random(9), list[float]()
        for index in range(10 * 24 * 1_800):
            at = index * 2.0
            share = (0.3 - 0.2 * math.cos(2.0 * math.pi * at / DAY)) * (0.1 if at > quiet_after else 1.0)
            if rng.random() < share and rate.update(index, at):
                found.append(at)
        return found

    assert not told(FeedbackRate(WEEK_S), math.inf)
    assert told(FeedbackRate(0.0), math.inf), "what the span is for"
    silent = told(FeedbackRate(WEEK_S), 9.0 * DAY)
    assert silent and silent[0] > 9.0 * DAY
