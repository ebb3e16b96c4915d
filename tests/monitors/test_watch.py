"""The watch: quiet stays quiet, a new desk is found with its slice, restore is exact, odd input never alarms."""

from __future__ import annotations

import json
import math
import random
from functools import lru_cache

import pytest

from monitors.alarms import Alarm, AlarmKind
from monitors.watch import Watch, WatchConfig
from tests.monitors.traffic import exchange, prompt, traffic

OLD = ["a", "b", "c", "d"]
SMALL = WatchConfig(reference_size=400, recent_size=600)


def feed(watch: Watch, desks: list[str], count: int, seed: int, first: int = 0) -> list[Alarm]:
    alarms: list[Alarm] = []
    for event in traffic(desks, count, seed, first):
        alarms += watch.observe_exchange(event)
    return alarms


@lru_cache(maxsize=1)
def quiet_blob() -> bytes:
    """A watch that has seen 700 quiet exchanges and said nothing that acts."""
    watch = Watch(SMALL, seed=3)
    alarms = feed(watch, OLD, 700, seed=1)
    assert watch.phase in ("watching", "suspected") and not any(a.acts for a in alarms)
    return watch.dump()


@lru_cache(maxsize=1)
def alarmed() -> tuple[bytes, Alarm]:
    """The same watch after a new desk became half of the traffic, and its alarm."""
    watch = Watch.load(SMALL, quiet_blob())
    alarms = [a for a in feed(watch, [*OLD, *["new"] * 4], 400, seed=2, first=700) if a.acts]
    assert len(alarms) == 1
    return watch.dump(), alarms[0]


@pytest.mark.slow
def test_a_new_desk_is_found_soon_with_evidence_and_the_same_id_in_a_replay() -> None:
    _, alarm = alarmed()
    assert alarm.kind is AlarmKind.INPUT and alarm.acts and 700 < alarm.event_index <= 900
    assert float(alarm.evidence["auc"]) > 0.6  # type: ignore[arg-type]
    replay = Watch.load(SMALL, quiet_blob())
    again = [a for a in feed(replay, [*OLD, *["new"] * 4], 400, seed=2, first=700) if a.acts]
    assert again == [alarm]


@pytest.mark.slow
def test_the_slice_at_buffer_time_holds_the_new_desk_and_not_the_old_ones() -> None:
    blob, _ = alarmed()
    watch = Watch.load(SMALL, blob)
    feed(watch, [*OLD, *["new"] * 4], 300, seed=5, first=1100)
    found = watch.slice_now()
    assert found is not None
    rng = random.Random(9)
    inside = [found.contains(prompt("new", rng)) for _ in range(300)]
    outside = [found.contains(prompt(rng.choice(OLD), rng)) for _ in range(300)]
    assert sum(inside) / 300 >= 0.9 and sum(outside) / 300 <= 0.05


@pytest.mark.slow
def test_after_rebase_the_same_traffic_is_quiet() -> None:
    watch = Watch.load(SMALL, alarmed()[0])
    feed(watch, [*OLD, *["new"] * 4], 500, seed=6, first=1100)
    watch.rebase(2e6, "promoted")
    assert watch.phase == "watching" and watch.slice_now() is None
    assert not any(a.acts for a in feed(watch, [*OLD, *["new"] * 4], 600, seed=7, first=1600))


@pytest.mark.slow
@pytest.mark.parametrize("cut", [150, 705, 777, 800, 1000])
def test_restore_goes_on_bit_for_bit(cut: int) -> None:
    """Cut while warming, watching, around the suspicion and after the alarm; both go on alike."""
    events = [*traffic(OLD, 700, 1), *traffic([*OLD, *["new"] * 4], 420, 2, 700)]
    whole = Watch(SMALL, seed=3)
    for event in events[:cut]:
        whole.observe_exchange(event)
    half = Watch.load_parts(SMALL, json_round(whole.dump_parts()))
    for number, event in enumerate(events[cut : cut + 120]):
        assert half.observe_exchange(event) == whole.observe_exchange(event)
        assert half.observe_reward(event, number % 5 / 4) == whole.observe_reward(event, number % 5 / 4)
    assert half.dump() == whole.dump()


@pytest.mark.slow
def test_a_suspicion_past_the_looks_of_a_shorter_config_is_dropped_and_the_watch_goes_on() -> None:
    watch = Watch.load(SMALL, quiet_blob())
    events = traffic([*OLD, *["new"] * 4], 400, 2, 700)
    while watch.phase != "suspected":
        watch.observe_exchange(next(events))
    parts = json_round(watch.dump_parts())
    moving = json.loads(parts["moving"])
    moving["suspicion"]["look"] = 2
    parts["moving"] = json.dumps(moving).encode()
    shorter = SMALL.model_copy(update={"confirm_sizes": (16, 40)})
    again = Watch.load_parts(shorter, parts)
    assert again.phase == "watching" and again.coverage.prompts == watch.coverage.prompts
    assert Watch.load_parts(shorter, json_round(again.dump_parts())).dump() == again.dump()
    assert [alarm.acts for event in events for alarm in again.observe_exchange(event)] == [True]
    assert Watch.load_parts(SMALL, parts).phase == "suspected", "with its look it goes on"
    moving["suspicion"]["confirmed"] = {"p_value": 0.0}
    confirmed = Watch.load_parts(shorter, {**parts, "moving": json.dumps(moving).encode()})
    assert confirmed.phase == "suspected", "what is confirmed needs no more looks"


@pytest.mark.slow
def test_restore_between_a_rebase_and_a_full_reference() -> None:
    watch = Watch.load(SMALL, alarmed()[0])
    watch.rebase(2e6, "promoted")
    assert watch.phase == "warming"
    stored = {**json_round(Watch.load(SMALL, alarmed()[0]).dump_parts()), **json_round(watch.dump_parts())}
    again = Watch.load_parts(SMALL, stored)
    for event in traffic([*OLD, *["new"] * 4], 400, 8, 1100):
        assert again.observe_exchange(event) == watch.observe_exchange(event)
    assert watch.phase != "warming" and again.dump() == watch.dump()


@pytest.mark.slow
def test_a_fit_that_was_stored_without_its_span_loads_and_has_that_of_its_prompts() -> None:
    parts = json_round(Watch.load(SMALL, quiet_blob()).dump_parts())
    older = json.loads(parts["fitted"])
    covers = older.pop("covers_s")
    again = Watch.load_parts(SMALL, {**parts, "fitted": json.dumps(older).encode()})
    assert again.coverage.covers_s == covers > 0.0


def json_round(parts: dict[str, bytes]) -> dict[str, bytes]:
    """What a store would give back."""
    return {name: json.dumps(json.loads(blob), separators=(",", ":")).encode() for name, blob in parts.items()}


@pytest.mark.slow
def test_few_parts_change_in_a_batch() -> None:
    watch = Watch.load(SMALL, quiet_blob())
    before = watch.dump_parts()
    feed(watch, OLD, 20, seed=11, first=700)
    after = watch.dump_parts()
    changed = {name for name, blob in after.items() if before.get(name) != blob}
    assert "moving" in changed and "fitted" not in changed and len(changed) <= 3
    assert len(after["moving"]) < 60_000


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "   ", "?!", "the same words again"])
def test_empty_and_constant_prompts_never_alarm(text: str) -> None:
    watch = Watch(WatchConfig(reference_size=100, recent_size=500), seed=1)
    alarms: list[Alarm] = []
    for i in range(400):
        alarms += watch.observe_exchange(exchange(i, text, f"s{i}", f"u{i}"))
    assert not any(a.primary for a in alarms)


@pytest.mark.slow
def test_odd_numbers_never_alarm() -> None:
    watch = Watch.load(SMALL, quiet_blob())
    rng = random.Random(4)
    alarms: list[Alarm] = []
    for i in range(700, 800):
        event = exchange(i, prompt(rng.choice(OLD), rng), f"s{i}", f"u{i}", latency=math.nan)
        alarms += watch.observe_exchange(event.model_copy(update={"surprisal": math.nan}))
        for reward in (math.nan, math.inf, -1.0, 2.0):
            alarms += watch.observe_reward(event, reward)
    assert not any(a.acts for a in alarms)


@pytest.mark.slow
def test_one_identity_cannot_raise_an_alarm() -> None:
    watch = Watch.load(SMALL, quiet_blob())
    quiet = list(traffic(OLD, 300, 21, 700))
    rng = random.Random(5)
    alarms: list[Alarm] = []
    for i, event in enumerate(quiet):
        alarms += watch.observe_exchange(event)
        alarms += watch.observe_exchange(exchange(5000 + i, prompt("new", rng), f"h{i}", "hostile"))
    assert not any(a.acts for a in alarms)
    assert watch.counts["capped"] >= 290


def rewards(watch: Watch, mean: float, count: int, seed: int, first: int = 0) -> list[Alarm]:
    rng = random.Random(seed)
    alarms: list[Alarm] = []
    for i in range(first, first + count):
        event = exchange(i, "", f"s{i}", f"u{i}")
        watch.observe_exchange(event)
        alarms += watch.observe_reward(event, float(rng.random() < mean))
    return alarms


@pytest.mark.slow
def test_a_fall_of_rewards_acts_once_and_a_rise_only_tells() -> None:
    falls = Watch(WatchConfig())
    assert not any(a.primary for a in rewards(falls, 0.8, 1500, 1))
    found = [a for a in rewards(falls, 0.4, 300, 2, 1500) if a.primary]
    assert [a.kind for a in found] == [AlarmKind.REWARD] and found[0].acts
    assert found[0].evidence["direction"] == "fall" and found[0].event_index <= 1600
    rises = Watch(WatchConfig())
    told = rewards(rises, 0.4, 600, 1) + rewards(rises, 0.95, 400, 2, 600)
    assert not any(a.acts for a in told) and "esr_rise" in {a.detector for a in told}


@pytest.mark.slow
def test_another_version_has_its_own_level_of_rewards_and_the_same_reference() -> None:
    watch = Watch(WatchConfig())
    rewards(watch, 0.8, 1500, 1)
    watch.relearn_rewards()
    assert not any(a.primary for a in rewards(watch, 0.4, 300, 2, 1500)), "unlike the version before it falls nowhere"
    other = Watch.load(SMALL, quiet_blob())
    before = other.dump_parts()
    other.relearn_rewards()
    assert {name for name, blob in other.dump_parts().items() if before[name] != blob} <= {"moving"}
    assert other.phase != "warming"


@pytest.mark.slow
def test_a_reward_alarm_is_as_old_as_the_feedback_that_raised_it() -> None:
    watch = Watch(WatchConfig())
    rewards(watch, 0.8, 1500, 1)
    alarms: list[Alarm] = []
    for i in range(300):  # old replies, rated now
        alarms += watch.observe_reward(exchange(i, "", f"s{i}", f"u{i}"), 0.0, sent_at=50_000.0 + i)
    (found,) = (a for a in alarms if a.acts)
    assert found.at >= 50_000.0


def test_rewards_of_a_canary_are_left_to_the_rollout() -> None:
    watch = Watch(WatchConfig(reward_reference=50))
    rewards(watch, 0.9, 60, 1)
    alarms: list[Alarm] = []
    for i in range(100, 300):
        event = exchange(i, "", f"s{i}", f"u{i}").model_copy(update={"arm": "canary"})
        alarms += watch.observe_reward(event, 0.0)
    assert not alarms


def test_a_longer_reply_is_told_by_the_informers_and_never_acts() -> None:
    watch = Watch(WatchConfig())
    alarms: list[Alarm] = []
    for i in range(1_000):
        reply = "short answer" if i < 700 else "a very much longer answer " * 20
        alarms += watch.observe_exchange(exchange(i, "", f"s{i}", f"u{i}", reply=reply))
    assert {a.kind for a in alarms} == {AlarmKind.BEHAVIOUR} and not any(a.primary for a in alarms)


def test_the_budget_sets_the_confirmation_level() -> None:
    assert WatchConfig().confirm_alpha == pytest.approx(0.01)
    assert WatchConfig(events_between_false_alarms=500_000).confirm_alpha == pytest.approx(0.002)
    with pytest.raises(ValueError, match="rising sizes"):
        WatchConfig(confirm_sizes=(40, 20))
