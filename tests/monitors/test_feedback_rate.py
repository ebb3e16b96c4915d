"""Feedback that stops is told; where nobody ever rated, or others answer, there is nothing that could stop."""

from __future__ import annotations

import json
import random

import pytest

from monitors.alarms import Alarm, AlarmKind
from monitors.feedback_rate import FeedbackRate
from monitors.watch import Watch
from monitors.watch_config import WatchConfig
from tests.monitors.traffic import exchange


def feed(watch: Watch, share: float, count: int, first: int, **about: str) -> list[Alarm]:
    """Exchanges of whom ``share`` are rated, each 30 exchanges later; what is told of feedback."""
    rng, alarms = random.Random(first), list[Alarm]()
    events = [exchange(n, "", f"s{n}", f"u{n}").model_copy(update=about) for n in range(first, first + count)]
    for n, event in enumerate(events):
        alarms += watch.observe_exchange(event)
        if n >= 30 and rng.random() < share:
            alarms += watch.observe_reward(events[n - 30], float(rng.random() < 0.8))
    return [alarm for alarm in alarms if alarm.evidence.get("signal") == "feedback_rate"]


def rated() -> Watch:
    """A watch of 6,000 exchanges of which two in five were rated, and that told nothing of it."""
    watch = Watch(WatchConfig())
    assert not feed(watch, 0.4, 6_000, 0)
    return watch


def test_feedback_that_stops_altogether_is_told_once_and_never_acts() -> None:
    watch = rated()
    (told,) = feed(watch, 0.0, 6_000, 6_000)
    assert (told.kind, told.primary, told.acts) == (AlarmKind.FEEDBACK, False, False)
    assert told.evidence["value"] == 0.0 and told.event_index <= 9_000


def test_where_nobody_ever_rated_no_silence_is_told_until_somebody_has() -> None:
    watch = Watch(WatchConfig())
    assert not feed(watch, 0.0, 12_000, 0)
    assert not feed(watch, 0.4, 6_000, 12_000)
    assert len(feed(watch, 0.0, 6_000, 18_000)) == 1


@pytest.mark.parametrize("arm", ["canary", "holdback"])
def test_a_silence_of_arms_that_are_not_rated_here_is_none(arm: str) -> None:
    watch = rated()
    assert not feed(watch, 0.0, 6_000, 6_000, arm=arm)
    assert len(feed(watch, 0.0, 6_000, 12_000)) == 1


def test_what_stands_in_for_the_champion_is_not_rated_here_and_a_new_champion_is() -> None:
    watch = rated()
    assert not feed(watch, 0.0, 6_000, 6_000, version="base")
    watch.relearn_rewards()
    assert len(feed(watch, 0.0, 6_000, 12_000, version="base")) == 1


def test_the_shares_of_rated_traffic_are_those_over_all_exchanges_since_the_last() -> None:
    """A backlog, too: exchanges of many minutes come before the feedback on them."""
    rng, waits = random.Random(1), [1] * 100 + [1_500] * 8 + [1] * 500
    plain, shown, index = FeedbackRate(0.0), FeedbackRate(0.0), 0
    for wait in waits:
        for _ in range(wait):
            index += 1
            assert not shown.exchanged(index, None, "v")
        for _ in range(sum(rng.random() < 0.4 for _ in range(wait))):
            assert plain.update(index, None) == shown.update(index, None, "v")
    older = {key: value for key, value in shown.dump().items() if key not in ("silent", "version")}
    assert older == {key: value for key, value in plain.dump().items() if key in older}


def test_restored_in_mid_silence_it_goes_on_bit_for_bit() -> None:
    whole = rated()
    feed(whole, 0.0, 1_000, 6_000)
    half = Watch.load(WatchConfig(), whole.dump())
    assert feed(half, 0.0, 4_000, 7_000) == feed(whole, 0.0, 4_000, 7_000) != []
    assert half.dump() == whole.dump()


@pytest.mark.parametrize("ever", [True, False])
def test_a_state_from_before_silence_was_told_loads_and_tells_it_where_there_was_feedback(ever: bool) -> None:
    watch = rated() if ever else Watch(WatchConfig())
    parts = watch.dump_parts()
    moving = json.loads(parts["moving"])
    for name in ("silent", "version"):
        del moving["rewards"]["rate"][name]
    again = Watch.load_parts(WatchConfig(), {**parts, "moving": json.dumps(moving).encode()})
    assert len(feed(again, 0.0, 6_000, 6_000)) == int(ever)
