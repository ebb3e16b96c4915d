"""Rewards that follow the clock are no drift where the reference has seen a week, and a fall inside the cycle is."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from statistics import median

import pytest

from monitors.detectors.esr import Esr, cautious_level
from monitors.feedback_rate import FeedbackRate
from monitors.level import Level
from monitors.rewards_watch import SIGNALS, RewardWatch
from monitors.season import WEEK_S, HourSums, Season, hour_of_week
from monitors.self_starting import SelfStarting
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


BY_THE_DAY = WatchConfig(reference_span_s=DAY)


def sine(hour: int) -> float:
    return 0.8 + 0.1 * math.sin(math.pi * hour / 12.0)


def thumbs(watch: RewardWatch, shape: Callable[[int], float], hours: range, an_hour: int, seed: int) -> list[Found]:
    """Primary findings of so many hours of thumbs."""
    rng, found = random.Random(f"{seed}/{hours.start}"), list[Found]()
    for hour in hours:
        for number in range(an_hour):
            reward, index = float(rng.random() < shape(hour % 24)), 2 * (hour * an_hour + number)
            at = (28 * 24 + hour + number / an_hour) * 3600.0
            found += [f for f in watch.observe(f"u{index}", reward, index, False, None, "text", at) if f.primary]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_one_day_is_enough_to_be_quiet_on_the_days_after(seed: int) -> None:
    """What one day says of an hour is off by .05; taken for certain, a third of such streams alarm within a week."""
    assert not thumbs(RewardWatch(BY_THE_DAY), sine, range(6 * 24), 100, seed)


@pytest.mark.slow
def test_hours_that_went_on_being_learned_tell_a_fall_sooner() -> None:
    """A fall of ten points on the second day takes many times what it takes after a week."""

    def delay(days: int, seed: int) -> int:
        watch = RewardWatch(BY_THE_DAY)
        assert not thumbs(watch, sine, range(days * 24), 100, seed)
        for hour in range(days * 24, days * 24 + 48):
            if thumbs(watch, lambda h: sine(h) - 0.1, range(hour, hour + 1), 100, seed):
                return hour - days * 24
        return 48

    assert median(delay(8, seed) for seed in range(5)) < 8


@pytest.mark.slow
@pytest.mark.parametrize("after", [(0.92, 0.92), (0.95, 0.85)])
def test_a_version_that_mends_the_bad_hours_is_no_fall(after: tuple[float, float]) -> None:
    """By the hours of the version before, its nights would lack what its evenings won."""
    watch = RewardWatch(BY_THE_DAY)
    assert not thumbs(watch, lambda hour: 0.9 if hour < 12 else 0.7, range(8 * 24), 60, 1)
    for seed in range(3):
        mended = RewardWatch.load(BY_THE_DAY, watch.dump())
        mended.rebase()
        told = thumbs(mended, lambda hour: after[hour >= 12], range(8 * 24, 11 * 24), 60, seed)
        assert not [one for one in told if one.evidence["signal"] == "reward_fall"]


@pytest.mark.slow
@pytest.mark.parametrize("hour", [6, 18])
def test_a_release_before_the_hours_are_known_begins_them_anew(hour: int) -> None:
    """Else the hours of one version would be taken off the mean of the other."""
    for seed in range(2):
        watch = RewardWatch(BY_THE_DAY)
        assert not thumbs(watch, lambda h: 0.9 if h < 12 else 0.7, range(12, 12 + hour), 100, seed)
        watch.rebase()
        assert not thumbs(watch, lambda h: 0.9 if h < 12 else 0.7, range(12 + hour, 4 * 24), 100, seed)


def test_a_lone_reward_on_the_day_before_is_no_day() -> None:
    watch = RewardWatch(BY_THE_DAY)
    thumbs(watch, sine, range(1), 1, 1)
    thumbs(watch, sine, range(30, 34), 100, 1)
    assert not watch.takes


def test_until_its_own_day_the_hours_of_the_version_before_hold_wholly_in_part_or_not() -> None:
    level, night, noon = learned(3), 0.0, 12 * 3600.0
    assert level.cautious(noon, "fall", 0.0) == level.offset(noon) > 0.1 > -0.1 > level.offset(night)
    assert level.cautious(noon, "fall", 2.0) < level.offset(noon) < level.cautious(noon, "rise", 2.0)
    level.forget()
    for number in range(300):
        level.append(0.6, 8 * DAY + number)  # in the night
    level.settle(1.0)
    by_the_clock = level.mean + level.offset(noon)
    assert level.mean + level.cautious(noon, "fall", 1.5) == pytest.approx(0.6), "noon may be as this night is"
    assert level.mean + level.cautious(noon, "rise", 0.0) == pytest.approx(by_the_clock), "or as noon was"
    assert level.cautious(noon, "rise", 1.5) > level.cautious(noon, "rise", 0.0), "as far as that is known"
    assert level.mean + level.cautious(8 * DAY, "fall", 0.0) == pytest.approx(0.6)


def test_a_level_of_before_hours_were_learned_on_is_read() -> None:
    hours = {"times": [0.0, 90_000.0], "hours": [[0, 2.0, 1.0, 1.0], [25, 2.0, 2.0, 2.0]]}
    begun = Level.load({"sums": [4, 3.0, 3.0], "variance": None, "hours": hours, "adds": []})
    assert (begun.count, begun.mean, begun.season_known, begun.spans(90_000.0)) == (4, 0.75, False, True)
    stored = {"sums": [400, 300.0, 260.0], "variance": 0.15, "hours": None, "adds": [0.1, -0.1] * 84}
    known = Level.load(stored)
    assert (known.count, known.mean, known.variance, known.season_known) == (400, 0.75, 0.15, True)
    assert known.cautious(0.0, "fall", 1.5) == known.offset(0.0) == 0.1, "it does not say how sure it is"
    assert Level.load(json.loads(json.dumps(known.dump()))).dump() == known.dump()
    assert Level.load(stored, 1.5).dump()["clumping"] == 1.5, "and is fitted anew as rewards are"


def test_days_of_the_week_that_are_known_are_not_given_up_for_one_day() -> None:
    level = learned(3, weeks=2.0)
    before = level.dump()["adds"]
    level.forget()
    for at, value in rewards(14.0, 3.0, 4):
        level.append(value, at)
        level.follow(at)
    level.settle(1.0)
    assert level.span_s > 2 * DAY and level.dump()["adds"] == before
    for at, value in rewards(17.0, 5.0, 5):
        level.append(value, at)
        level.follow(at)
    assert level.dump()["adds"] != before, "its own week is"


@pytest.mark.slow
def test_rewards_that_come_late_and_mixed_cover_no_time_twice() -> None:
    """Each is heard of some hours after its question, so the values of an open run lie among those before it."""
    rng, level = random.Random(5), Level()
    asked = [number * 120.0 for number in range(5 * 720)]
    heard = sorted((at + rng.expovariate(1.0 / 10_800.0), at) for at in asked)
    signal, side = SIGNALS[0], None
    for _, at in heard:
        reward = float(rng.random() < sine(hour_of_week(at) % 24))
        if side is not None:
            side.update(reward, at)
            continue
        level.append(reward, at)
        if level.count >= 300 and level.spans(DAY):
            level.settle(BY_THE_DAY.reward_clumping)
            side = SelfStarting(signal, level, BY_THE_DAY)
    assert side is not None and level.learns(BY_THE_DAY.reward_known)
    assert 4.5 * DAY < level.span_s <= 5.0 * DAY
