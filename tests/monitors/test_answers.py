"""Why rewards fall: known questions answered wrong are another thing than new questions."""

from __future__ import annotations

import json
import random

import pytest

from monitors.alarms import Alarm, AlarmKind
from monitors.answers import Answers
from monitors.watch import Watch, WatchConfig
from tests.monitors.traffic import exchange, prompt

CONFIG = WatchConfig(reference_size=300, recent_size=500)


def answers(familiar: float, strange: float, share_strange: float, seed: int = 1) -> Answers:
    """100 good rewards, then 60 with these means for known and new prompts."""
    rng, found = random.Random(seed), Answers()
    for index in range(160):
        new = index >= 100 and rng.random() < share_strange
        novelty = 0.95 + 0.05 * rng.random() if new else 0.85 * rng.random()
        mean = 0.85 if index < 100 else strange if new else familiar
        found.append(float(rng.random() < mean), novelty, False, "claim form" if new else "reset card")
    return found


def test_the_cause_is_where_the_lack_is() -> None:
    changed = answers(0.2, 0.2, 0.1).explain(0.85)
    assert changed.cause == "changed_answers" and changed.familiar_share > 0.7 and 40 <= changed.since <= 80
    new = answers(0.85, 0.0, 0.5).explain(0.85)
    assert new.cause == "new_inputs" and new.familiar_share < 0.5
    assert "claim" in new.words and "card" not in new.words


def test_nothing_to_go_by_is_unknown_and_the_state_restores() -> None:
    assert Answers().explain(0.8).cause == "unknown"
    blind = Answers()
    for _ in range(50):
        blind.append(0.0, None, False, "a")
    assert blind.explain(0.8).cause == "unknown"
    found = answers(0.2, 0.2, 0.3)
    again = Answers.load(json.loads(json.dumps(found.dump())))
    assert again.explain(0.85) == found.explain(0.85) and again.dump() == found.dump()


def rated(watch: Watch, desks: str, count: int, right: dict[str, float], seed: int, first: int) -> list[Alarm]:
    """Exchanges that are all rated; wrong ones are corrected half of the time."""
    rng, alarms = random.Random(seed), list[Alarm]()
    for index in range(first, first + count):
        desk = rng.choice(desks)
        event = exchange(index, prompt(desk, rng), f"s{index}", f"u{index}")
        watch.observe_exchange(event)
        reward = float(rng.random() < right.get(desk, 0.9))
        found = watch.observe_reward(event, reward, corrected=reward == 0.0 and rng.random() < 0.5)
        alarms += [a for a in found if a.acts]
    return alarms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("desks", "right", "cause"),
    [("abcd", {"a": 0.0, "b": 0.0}, "changed_answers"), ("abcdnnnn", {"n": 0.0}, "new_inputs")],
)
def test_the_watch_tells_concept_drift_from_input_drift(desks: str, right: dict[str, float], cause: str) -> None:
    watch = Watch(CONFIG, seed=1)
    assert not rated(watch, "abcd", 700, {}, 1, 0)
    told = rated(watch, desks, 150, right, 2, 700)
    assert {a.kind for a in told} == {AlarmKind.REWARD, AlarmKind.FEEDBACK}
    assert {a.cause for a in told} == {cause}
    assert all(a.event_index <= 790 and a.evidence["terms"] for a in told)


@pytest.mark.slow
def test_while_a_reference_is_collected_anew_the_one_before_tells_what_is_familiar() -> None:
    """A day of reference, in seconds: 1,500 exchanges before the promotion, and not yet as many after it."""
    config = CONFIG.model_copy(update={"reference_span_s": 1_450.0, "reward_reference": 200})
    watch = Watch(config, seed=1)
    assert not rated(watch, "abcd", 1_500, {}, 1, 0) and watch.phase == "watching"
    watch.rebase(2e6, "promotion")
    assert watch.phase == "warming" and not rated(watch, "abcd", 400, {}, 2, 1_500)
    watch = Watch.load(config, watch.dump())
    again = Watch.load(config, watch.dump())
    told = rated(watch, "abcd", 150, {"a": 0.0, "b": 0.0}, 3, 1_900)
    assert watch.phase == "warming" and {a.cause for a in told} == {"changed_answers"}
    assert rated(again, "abcd", 150, {"a": 0.0, "b": 0.0}, 3, 1_900) == told and again.dump() == watch.dump()
    rated(watch, "abcd", 1_000, {}, 4, 2_050)
    assert watch.phase == "watching" and json.loads(json.loads(watch.dump())["moving"])["ended"] is None


def test_a_silent_feedback_route_is_told_and_never_acts() -> None:
    watch, alarms, rng = Watch(WatchConfig(reward_reference=50)), list[Alarm](), random.Random(1)
    for index in range(8_000):
        event = exchange(index, "", f"s{index}", f"u{index}")
        watch.observe_exchange(event)
        if rng.random() < (0.5 if index < 4_000 else 0.05):
            alarms += watch.observe_reward(event, float(rng.random() < 0.8))
    rates = [a for a in alarms if a.evidence["signal"] == "feedback_rate"]
    assert rates and all(a.kind is AlarmKind.FEEDBACK and not a.acts and a.event_index > 4_000 for a in rates)
