"""Errors, refusals and surprisal: a change is told and never acts; a restored watch goes on alike."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from monitors.alarms import Alarm, AlarmKind
from monitors.replies_watch import ReplyWatch
from monitors.signals import Found
from monitors.watch import Watch
from monitors.watch_config import WatchConfig
from streams.events import Attempt, Exchange
from tests.monitors.traffic import exchange, traffic

SMALL = WatchConfig(
    reference_size=400, reward_reference=50, events_between_false_alarms=5_000, realarm_events=1_000, recent_size=600
)
REFUSED = "I'm sorry, but I can't help with that."


def replies(
    count: int, seed: int, errors: float = 0.01, refusals: float = 0.03, surprisal: float = 0.4, sampled: float = 0.2
) -> Iterator[Exchange]:
    """Exchanges without prompts; ``surprisal``: its mean in nats a token, of the ``sampled`` share."""
    rng = random.Random(seed)
    for index in range(count):
        reply = REFUSED if rng.random() < refusals else "Your parcel is on its way."
        made = exchange(index, "", f"s{index}", f"u{index}", reply=reply)
        nats = rng.gammavariate(4.0, surprisal / 4.0) if rng.random() < sampled else None
        yield made.model_copy(update={"status": 502 if rng.random() < errors else 200, "surprisal": nats})


def told(watch: ReplyWatch, events: Iterator[Exchange], first: int) -> list[tuple[int, Found]]:
    """What e-SR finds, and after how many of these exchanges."""
    found: list[tuple[int, Found]] = []
    for number, event in enumerate(events):
        found += [(number + 1, one) for one in watch.observe(event, first + number)]
    return [(number, one) for number, one in found if one.detector.startswith("esr")]


def learned() -> ReplyWatch:
    """A watch that has seen 3,000 exchanges, and told nothing of them."""
    watch = ReplyWatch(SMALL)
    assert not told(watch, replies(3_000, 1), 1)
    return watch


@pytest.mark.parametrize(
    ("drift", "signal", "direction", "within"),
    [
        ({"errors": 0.15}, "errors", "rise", 250),
        ({"refusals": 0.20}, "refusals", "rise", 250),
        ({"surprisal": 0.8}, "surprisal", "rise", 600),
        ({"surprisal": 0.1}, "surprisal", "fall", 600),
    ],
)
def test_a_change_is_told_to_people_and_acts_on_nothing(
    drift: dict[str, float], signal: str, direction: str, within: int
) -> None:
    found = told(learned(), replies(1_000, 2, **drift), 3_001)
    assert [(one.evidence["signal"], one.evidence["direction"]) for _, one in found] == [(signal, direction)]
    (number, one), usual = found[0], {"errors": 0.01, "refusals": 0.03, "surprisal": 0.38}[signal]
    assert number <= within and (one.kind, one.primary) == (AlarmKind.BEHAVIOUR, False)
    assert one.evidence["level"] == pytest.approx(usual, abs=0.05) and float(str(one.evidence["e"])) >= 20_000


def test_what_has_told_is_silent_for_a_while_and_tells_again() -> None:
    found = told(learned(), replies(2_500, 3, errors=0.3), 3_001)
    numbers = [number for number, _ in found]
    assert len(numbers) == 3 and numbers[0] < 60
    assert all(1_000 <= after - before < 1_060 for before, after in pairwise(numbers))


def test_errors_of_a_canary_are_left_to_the_rollout_and_hidden_ones_count() -> None:
    canary = (event.model_copy(update={"arm": "canary"}) for event in replies(500, 4, errors=0.5))
    assert not told(learned(), canary, 3_001)
    retried = (Attempt(version="v", status=503), Attempt(version="base", status=200))
    hidden = (event.model_copy(update={"attempts": retried}) for event in replies(50, 5))
    assert [one.evidence["signal"] for _, one in told(learned(), hidden, 3_001)] == ["errors"]


def test_another_version_has_its_own_levels() -> None:
    watch = learned()
    watch.forget()
    assert not told(watch, replies(1_500, 6, refusals=0.3), 3_001)


def test_restored_in_mid_stream_it_goes_on_bit_for_bit() -> None:
    whole, half = ReplyWatch(SMALL), ReplyWatch(SMALL)
    events = [*replies(700, 7), *replies(700, 8, errors=0.2, surprisal=1.0)]
    for index, event in enumerate(events):
        assert half.observe(event, index + 1) == whole.observe(event, index + 1)
        if index % 97 == 0:
            half = ReplyWatch.load(SMALL, json.loads(json.dumps(half.dump())))
    assert half.dump() == whole.dump()


def test_a_state_from_before_rates_were_watched_loads_and_learns_them() -> None:
    watch = Watch(SMALL)
    for event in replies(50, 9):
        watch.observe_exchange(event)
    parts = watch.dump_parts()
    older = json.loads(parts["moving"])
    del older["rates"]
    again = Watch.load_parts(SMALL, {**parts, "moving": json.dumps(older).encode()})
    assert again.counts == watch.counts
    alarms = [alarm for event in replies(500, 10) for alarm in again.observe_exchange(event)]
    alarms += [alarm for event in replies(300, 11, errors=0.5) for alarm in again.observe_exchange(event)]
    found = [alarm for alarm in alarms if alarm.detector == "esr_rise"]
    assert [(alarm.kind, alarm.acts) for alarm in found] == [(AlarmKind.BEHAVIOUR, False)]
    assert len({alarm.alarm_id for alarm in alarms}) == len(alarms)


@pytest.mark.slow
def test_a_shift_of_surprisal_alone_is_seen_though_the_prompts_stay() -> None:
    """All replies sampled: the chart of prompts suspects it too, which fresh prompts cannot confirm."""

    def feed(nats: float, count: int, first: int) -> list[Alarm]:
        rng, alarms = random.Random(first), list[Alarm]()
        for event in traffic(["a", "b", "c", "d"], count, 12 + first, first):
            sampled = event.model_copy(update={"surprisal": rng.gammavariate(4.0, nats / 4.0)})
            alarms += watch.observe_exchange(sampled)
        return [alarm for alarm in alarms if alarm.detector in ("mewma", "esr_rise")]

    watch = Watch(SMALL, seed=3)
    assert "esr_rise" not in {alarm.detector for alarm in feed(0.4, 800, 0)}
    found = feed(1.2, 400, 800)
    assert not any(alarm.acts for alarm in found)
    by = {alarm.detector: alarm for alarm in found}
    assert by["esr_rise"].evidence["signal"] == "surprisal" and by["esr_rise"].event_index <= 850
    assert by["mewma"].kind is AlarmKind.INPUT and not by["mewma"].confirmed, "prompts as ever confirm nothing"


def test_another_version_is_not_held_to_the_hours_of_the_one_before() -> None:
    """Its levels wait for a day of its own, as the first ones did."""
    watch = ReplyWatch(SMALL.model_copy(update={"reference_span_s": 86_400.0}))

    def fed(first: int, count: int) -> bool:
        for number, event in enumerate(replies(count, first)):
            at = 60.0 * (first + number)
            watch.observe(event.model_copy(update={"received_at": at}), first + number)
        return bool(watch.dump()["rates"]["sides"])

    assert not fed(0, 1_400) and fed(1_400, 100)
    watch.forget()
    assert not fed(1_500, 1_400) and fed(2_900, 100)
