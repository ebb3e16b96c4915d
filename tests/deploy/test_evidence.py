"""Units: who counts, once, in which arm; and that a restart or a redelivery changes nothing."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.evidence import Evidence, RewardsOf, Tick, Unit
from deploy.fleet import Before
from deploy.guards import Bounds
from deploy.processes import Processes, fold
from deploy.rollout import RolloutConfig
from deploy.unit_events import Path, UnitEvent
from streams.events import Exchange
from tests.deploy.exchanges import exchange

CONFIG = RolloutConfig(maturity_s=10.0, lateness_s=1.0)


BOUNDS = Bounds(first_token_s=1.0, token_s=0.1, tokens=50)


def in_slice(text: str) -> bool:
    return "parcel" in text


def fresh(config: RolloutConfig = CONFIG, before: Before | None = None) -> Evidence:
    return Evidence("r1", config, BOUNDS, in_slice, before)


def known(rewards: Mapping[str, Sequence[float]]) -> RewardsOf:
    """What the store would answer of any units."""

    def answer(due: Sequence[Unit]) -> Mapping[str, Sequence[float]]:
        assert due, "nobody is asked about nothing"
        return rewards

    return answer


SILENT = known({})


def paths(*ticks: Tick) -> list[Path]:
    return [e.path for t in ticks for e in t.events]


def test_a_session_that_is_older_than_the_rollout_is_no_unit() -> None:
    evidence = fresh()
    assert evidence.observe_exchange(exchange("s"), first_of_session=False) == Tick()
    assert evidence.observe_reward(exchange("s"), 1.0, 1.0) == Tick()
    assert evidence.unit_counts == (0, 0)


def test_the_arm_is_that_of_the_first_exchange_for_good() -> None:
    evidence = fresh()
    evidence.observe_exchange(exchange("s", canary=False, propensity=0.1), first_of_session=True)
    evidence.observe_exchange(exchange("s", canary=True, propensity=0.5, number=1), first_of_session=False)
    tick = evidence.observe_reward(exchange("s", canary=True, propensity=0.5, number=1), 0.0, 2.0)
    assert [(e.canary, e.propensity) for e in tick.events] == [(False, 0.1)]


def test_propensity_zero_or_one_and_other_rollouts_are_no_units() -> None:
    evidence = fresh()
    for odd in (exchange("a", propensity=1.0), exchange("b", propensity=None), exchange("c", rollout="other")):
        evidence.observe_exchange(odd, first_of_session=True)
    assert evidence.unit_counts == (0, 0)


def test_one_identity_counts_for_three_units_on_both_paths() -> None:
    evidence = fresh()
    ticks: list[Tick] = []
    for i in range(8):
        x = exchange(f"s{i}", identity="loud", at=float(i) / 10)
        ticks.append(evidence.observe_exchange(x, first_of_session=True))
        ticks.append(evidence.observe_reward(x, 0.0, 1.0))
    ticks.append(evidence.mature(100.0, known({f"s{i}": [0.0] for i in range(8)})))
    seen = paths(*ticks)
    assert seen.count(Path.HARM) == seen.count(Path.PROMOTE) == seen.count(Path.ASSIGNED) == 3
    assert evidence.unit_counts == (3, 5)


def test_harm_counts_the_first_reward_at_once_and_promotion_the_mean_of_the_window() -> None:
    evidence = fresh()
    for i in range(3):
        evidence.observe_exchange(exchange("s", number=i, at=float(i)), first_of_session=i == 0)
    ticks = [
        evidence.observe_reward(exchange("s", number=1), 0.0, 3.0),
        evidence.observe_reward(exchange("s", number=0), 1.0, 4.0),
    ]
    assert [(e.path, e.value) for t in ticks for e in t.events] == [(Path.HARM, 0.0)]
    said = known({"s": [1.0, 0.0]})
    assert evidence.mature(10.9, said).events == ()
    assert [(e.path, e.value) for e in evidence.mature(11.0, said).events] == [(Path.PROMOTE, 0.5)]
    assert evidence.mature(50.0, said).events == ()


def test_a_unit_without_feedback_gives_nothing_to_the_promote_path() -> None:
    evidence = fresh()
    evidence.observe_exchange(exchange("s"), first_of_session=True)
    assert paths(evidence.mature(100.0, SILENT)) == [Path.CLOSED]


def test_errors_and_slow_replies_count_once_per_session_and_identity() -> None:
    evidence = fresh()
    ticks = [
        evidence.observe_exchange(exchange("s", number=i, status=500, latency_s=3.0), first_of_session=i == 0)
        for i in range(5)
    ]
    ticks += [evidence.observe_exchange(exchange("t", identity="s", first_status=503), first_of_session=True)]
    slow = {"first_token_s": 1.5, "completion_tokens": 11}
    for i in range(3):
        x = exchange("u", number=i, latency_s=3.0).model_copy(update=slow)
        ticks.append(evidence.observe_exchange(x, i == 0))
    seen = paths(*ticks)
    assert [seen.count(p) for p in (Path.ERROR, Path.FIRST_TOKEN, Path.PACE, Path.LENGTH)] == [1, 1, 1, 0]


def test_behaviour_counts_where_nothing_was_to_change() -> None:
    """Overlong replies and errors, inside and outside of the slice; without a slice everything counts."""
    for sliced, expected in ((True, [Path.ERROR, Path.ERROR, Path.LENGTH]), (False, [Path.ERROR, Path.LENGTH] * 2)):
        evidence, seen = Evidence("r1", CONFIG, BOUNDS, in_slice, sliced=sliced), list[Path]()
        for i, prompt in enumerate(("where is my parcel", "something else")):
            long = exchange(f"s{i}", prompt=prompt).model_copy(update={"completion_tokens": 51})
            ticks = [evidence.observe_exchange(exchange(f"s{i}", prompt=prompt, status=500), True)]
            ticks.append(evidence.observe_exchange(long, False))
            seen += [p for p in paths(*ticks) if p is not Path.ASSIGNED]
        assert sorted(seen) == sorted(expected)


def test_an_error_hidden_by_a_retry_feeds_the_kill_switch_and_a_success_resets_it() -> None:
    evidence = fresh()
    for i in range(7):
        evidence.observe_exchange(exchange(f"s{i}", first_status=502), first_of_session=True)
    assert evidence.kill.consecutive == 7
    assert len(evidence.kill.sessions) == CONFIG.kill_sessions
    evidence.observe_exchange(exchange("ok"), first_of_session=True)
    assert evidence.kill.consecutive == 0


def test_trouble_of_both_arms_is_seen_and_ends_with_its_cause() -> None:
    config = CONFIG.model_copy(update={"fleet_window": 40})
    evidence = fresh(config, Before(1000, 10))
    for i in range(42):
        evidence.observe_exchange(exchange(f"a{i}", canary=i % 2 == 0, status=500 if i % 4 < 2 else 200), True)
    assert evidence.kill.fleet == "fleet_errors"
    for i in range(40):
        evidence.observe_exchange(exchange(f"b{i}", canary=i % 2 == 0), True)
    assert evidence.kill.fleet == ""


def play(seed: int, units: int) -> tuple[Evidence, list[UnitEvent], list[Evidence]]:
    """A rollout with rewards, its recorded events, and one restored copy made half-way."""
    rng = random.Random(seed)
    config, before = CONFIG.model_copy(update={"fleet_window": 30}), Before(1000, 10)
    evidence, recorded, copies = fresh(config, before), list[UnitEvent](), list[Evidence]()
    stored: dict[str, Unit] = {}
    rated: dict[str, list[float]] = {}
    seen: list[Exchange] = []

    def note(tick: Tick) -> None:
        recorded.extend(tick.events)
        for u in tick.units:
            stored[u.session] = Unit(
                u.seq, u.session, u.identity, u.canary, u.propensity, u.in_slice, u.first_at, u.capped
            )

    for i in range(units):
        status, said = rng.choices([200, 500], [4, 1])[0], rng.choice(["on its way", "I cannot help", "  "])
        slow = {"completion": said, "first_token_s": rng.choice([0.1, 0.1, 2.0]), "completion_tokens": 1 + i % 60}
        who = f"u{rng.randrange(units)}"
        text = rng.choice(["where is my parcel", "something else"])
        x = exchange(f"s{i}", canary=rng.random() < 0.5, at=i * 0.1, identity=who, status=status, prompt=text)
        x = x.model_copy(update=slow)
        seen.append(x)
        for each in (evidence, *copies):
            tick = each.observe_exchange(x, first_of_session=True)
            if each is evidence:
                note(tick)
        if rng.random() < 0.7:
            reward = float(rng.random() < (0.9 if x.arm == "canary" else 0.5))
            rated[x.session] = [reward]
            for each in (evidence, *copies):
                tick = each.observe_reward(x, reward, i * 0.1 + 1)
                if each is evidence:
                    note(tick)
        for each in (evidence, *copies):
            tick = each.mature(i * 0.1, known(rated))
            if each is evidence:
                note(tick)
        if i == units // 2:
            units_now = [copy.deepcopy(u) for u in stored.values()]
            restored = Evidence.restore("r1", config, BOUNDS, in_slice, units_now, list(recorded), before)
            restored.recall_kill_switch(seen)
            copies.append(restored)
    return evidence, recorded, copies


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_restoring_in_mid_stream_equals_running_through(seed: int) -> None:
    evidence, recorded, (restored,) = play(seed, 120)
    assert restored.processes == evidence.processes
    assert restored.kill == evidence.kill
    assert fold(recorded, CONFIG) == evidence.processes
    assert {Path.ERROR, Path.FIRST_TOKEN, Path.LENGTH, Path.REFUSAL, Path.FORMAT} <= {e.path for e in recorded}


def test_the_state_survives_json_bit_for_bit() -> None:
    evidence, _, _ = play(3, 200)
    assert Processes.from_dict(evidence.processes.to_dict()) == evidence.processes


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_arrival_does_not_change_the_promote_path(seed: int) -> None:
    rng = random.Random(seed)
    xs = [exchange(f"s{i}", at=i * 0.1, identity=f"u{i % 9}", canary=i % 2 == 0) for i in range(40)]
    values = {x.session: rng.random() for x in xs}
    ends: list[Processes] = []
    for order in (xs, rng.sample(xs, len(xs))):
        evidence = fresh()
        for x in order:
            evidence.observe_exchange(x, first_of_session=True)
            evidence.observe_reward(x, values[x.session], x.received_at + 1)
        evidence.mature(1000.0, known({session: [value] for session, value in values.items()}))
        ends.append(evidence.processes)
    assert ends[0].non_inferior_small == ends[1].non_inferior_small
    assert ends[0].superior_in_slice == ends[1].superior_in_slice


def test_a_right_answer_that_is_longer_than_usual_is_not_rambling() -> None:
    assert Bounds.rambling(None) is None
    usual = 8.0
    bound = Bounds.rambling(usual)
    assert bound is not None and 3 * usual < bound < 10 * usual
