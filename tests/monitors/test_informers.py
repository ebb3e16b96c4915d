"""Informers that learn their scale: quiet on values of any size and shape, and a shift of one deviation is told."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest

from monitors.alarms import AlarmKind
from monitors.detectors.informers import SCALE_EVENTS, Informer
from monitors.replies_watch import ReplyWatch
from monitors.watch_config import WatchConfig
from streams.events import Exchange
from tests.monitors.traffic import exchange

Draw = Callable[[random.Random], float]
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng: rng.gauss(5.0, 1.0), 1.0),
    "lognormal": (lambda rng: rng.lognormvariate(0.0, 1.0), 2.16),
    "two_point": (lambda rng: rng.choice((3.0, 8.0)), 2.5),
}
"""A draw of each, and its deviation."""


@pytest.mark.parametrize("shape", SHAPES)
def test_stationary_values_of_any_scale_are_quiet_and_a_shift_of_a_deviation_is_told(shape: str) -> None:
    draw, deviation = SHAPES[shape]
    rng, informer = random.Random(1), Informer("x", learns_scale=True)
    assert not any(informer.update(draw(rng)) for _ in range(20_000))
    level = informer.level
    delay = next(n for n in range(1, 1_000) if informer.update(draw(rng) + deviation))
    assert delay <= 250
    assert level < informer.level <= level + 1.5 * deviation, "in the units of the values"


def test_after_an_alarm_the_scale_is_learned_anew() -> None:
    rng, informer = random.Random(2), Informer("x", learns_scale=True)
    for _ in range(1_000):
        informer.update(rng.gauss(0.0, 1.0))
    assert any(informer.update(rng.gauss(100.0, 20.0)) for _ in range(100))
    assert not any(informer.update(rng.gauss(100.0, 20.0)) for _ in range(10_000))
    assert any(informer.update(rng.gauss(120.0, 20.0)) for _ in range(400)), "twenty is one deviation now"


def test_values_that_were_all_alike_and_rare_wild_ones_are_no_drift() -> None:
    informer = Informer("x", learns_scale=True)
    assert not any(informer.update(1e6 if n % 1_000 == 999 else 2.0) for n in range(10_000))
    assert any(informer.update(2.3) for _ in range(100))


def test_restored_in_mid_stream_it_goes_on_bit_for_bit() -> None:
    rng = random.Random(3)
    whole, parts = Informer("x", learns_scale=True), Informer("x", learns_scale=True)
    told = 0
    for n in range(2_000):
        value = rng.gauss(5.0, 1.0) + 4.0 * (n > 900)
        found = whole.update(value)
        assert parts.update(value) == found
        assert parts.level == whole.level
        told += len(found)
        if n % 37 == 0 or found:
            parts = Informer.load(json.loads(json.dumps(parts.dump())), learns_scale=True)
    assert told == 1 and parts.dump()["scale"] == whole.dump()["scale"]


def served(count: int, seed: int, arm: str | None = None) -> Iterator[Exchange]:
    """Lengths and latencies as chats have them: deviations of their logarithms 1 and .7."""
    rng = random.Random(seed)
    for index in range(count):
        reply, latency = "x" * int(rng.lognormvariate(5.5, 1.0)), rng.lognormvariate(0.0, 0.7)
        made = exchange(index, "", f"s{index}", f"u{index}", reply, latency)
        yield made.model_copy(update={"arm": arm})


def test_latency_and_length_of_stationary_replies_tell_nothing_and_a_slow_server_is_told() -> None:
    watch = ReplyWatch(WatchConfig())
    events = list(served(8_500, 4))
    assert not [found for n, event in enumerate(events[:8_000]) for found in watch.observe(event, n + 1)]
    slow = [event.model_copy(update={"completed_at": event.completed_at + 3.0}) for event in events[8_000:]]
    told = [found for n, event in enumerate(slow) for found in watch.observe(event, 8_001 + n)]
    assert [(one.kind, one.primary) for one in told] == [(AlarmKind.LATENCY, False)]
    assert 0.0 < float(str(told[0].evidence["level"])) < 1.5, "of the logarithm of seconds"


@pytest.mark.parametrize("arm", ["canary", "holdback"])
def test_replies_of_a_canary_or_holdback_are_not_shown_to_the_informers(arm: str) -> None:
    watch = ReplyWatch(WatchConfig())
    for n, event in enumerate(served(20, 5)):
        watch.observe(event, n + 1)
    before = watch.dump()
    for n, event in enumerate(served(20, 6, arm)):
        assert not watch.observe(event, n + 21)
    assert watch.dump() == before


def test_another_version_has_a_scale_of_its_own() -> None:
    watch = ReplyWatch(WatchConfig())
    for n, event in enumerate(served(SCALE_EVENTS + 10, 7)):
        watch.observe(event, n + 1)
    watch.forget()
    assert [one["scale"][0] for one in watch.dump()["informers"].values()] == [0, 0]


def test_a_state_from_before_scales_were_learned_loads_and_learns_them() -> None:
    watch = ReplyWatch(WatchConfig())
    older = {**watch.dump(), "informers": {name: Informer(name).dump() for name in ("latency", "reply_length")}}
    again = ReplyWatch.load(WatchConfig(), json.loads(json.dumps(older)))
    for n, event in enumerate(served(100, 8)):
        again.observe(event, n + 1)
    assert [one["scale"][0] for one in again.dump()["informers"].values()] == [100, 100]
