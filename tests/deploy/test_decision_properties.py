"""What must hold of the decisions whatever the traffic is."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.evidence import Evidence, Kill
from deploy.guards import GUARDS, REWARD_WEIGHT, Bounds
from deploy.intervals import intervals
from deploy.processes import Processes, apply, fold
from deploy.rollout import FINAL, LIVE, Phase, Signal, move
from deploy.rollout_config import RolloutConfig
from deploy.simulation import World, simulate
from deploy.unit_events import Path, UnitEvent
from deploy.verdict import judge
from monitors.bets import ContrastSpec, Direction
from monitors.many import ManyContrasts, ManyDraws
from monitors.owner import OwnerSpec
from tests.deploy.exchanges import exchange

CONFIG = RolloutConfig(maturity_s=5.0, lateness_s=0.0)
RUNS, UNITS = 6000, 40


def within(wealth: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """The mean of wealth is at most 1, give or take three standard errors."""
    assert wealth.mean() <= 1.0 + 3.0 * wealth.std() / math.sqrt(len(wealth))


@pytest.mark.slow
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize(("direction", "margin"), [("promote", 0.0), ("promote", 0.1), ("rollback", 0.0)])
def test_wealth_is_a_supermartingale_on_the_edge_of_h0(direction: Direction, margin: float, graded: bool) -> None:
    """Random propensities that react to the last rewards, and a common drift; the arms differ by the margin."""
    rng, many = np.random.default_rng(5), ManyContrasts(RUNS, ContrastSpec(direction, margin))
    seen = np.zeros(RUNS)
    for unit in range(UNITS):
        propensity = np.where(seen > unit * 0.5, rng.uniform(0.05, 0.3, RUNS), rng.uniform(0.4, 0.95, RUNS))
        canary = rng.random(RUNS) < propensity
        mean = 0.7 - 0.3 * unit / UNITS - margin * canary * (direction == "promote")
        # graded with other shapes in the two arms: only the means are equal
        low = np.where(canary, 0.2, 0.0)
        high = np.where(canary, 0.85, 1.0) if graded else 1.0
        low = low if graded else 0.0
        reward = np.where(rng.random(RUNS) < (mean - low) / (high - low), high, low)
        many.update(canary, propensity, reward)
        seen += reward
    within(np.exp(many.log_e()))


@pytest.mark.slow
@pytest.mark.parametrize("tolerated", [1.0, 2.0])
def test_wealth_on_events_is_a_supermartingale_on_the_edge_of_h0(tolerated: float) -> None:
    rng, many = np.random.default_rng(6), ManyDraws.owners(RUNS, OwnerSpec(tolerated))
    fair = ManyDraws.sample_ratios(RUNS)
    for _ in range(UNITS):
        propensity = rng.uniform(0.05, 0.6, RUNS)
        odds = tolerated * propensity / (1 - propensity)
        many.update(rng.random(RUNS) < odds / (1 + odds), propensity)
        fair.update(rng.random(RUNS) < propensity, propensity)
    within(np.exp(many.log_e()))
    within(np.exp(fair.log_e()))


def test_the_weights_of_the_harm_evidence_sum_to_one() -> None:
    assert REWARD_WEIGHT + sum(guard.weight for guard in GUARDS.values()) == pytest.approx(1.0)


ARMS = {"canary only": (True,), "control only": (False,), "both": (True, False)}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    arms=st.sampled_from(sorted(ARMS)),
    value=st.sampled_from([math.nan, math.inf, -1.0, 2.0, 0.0, 0.5, 1.0]),
    propensity=st.sampled_from([0.1, 0.5, 0.95]),
    phase=st.sampled_from([Phase.CANARY_SMALL, Phase.CANARY_HALF]),
    units=st.integers(0, 300),
)
def test_broken_constant_one_armed_and_empty_inputs_never_promote(
    arms: str, value: float, propensity: float, phase: Phase, units: int
) -> None:
    """Whatever comes: the candidate is never found superior, and one arm alone passes not even the first step."""
    state = Processes()
    for i in range(units):
        for path in (Path.ASSIGNED, Path.HARM, Path.PROMOTE):
            given_value = 1.0 if path is Path.ASSIGNED else value
            event = UnitEvent(i, path, i, ARMS[arms][i % len(ARMS[arms])], propensity, given_value, True, float(i))
            state = apply(state, event, CONFIG)
            found = judge(phase, state, Kill(), CONFIG, i, float(i))
            if found.signal is Signal.STEP_PASSED:
                assert phase is Phase.CANARY_SMALL and arms == "both", found.reason
                assert value in (0.0, 0.5, 1.0), "equal constant rewards are as good as the control's"
            if found.signal is not None:
                phase = move(phase, found.signal)
                assert phase is not Phase.PROBATION
                if phase not in LIVE:
                    return


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_redelivery_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    evidence = Evidence("r1", CONFIG, Bounds(first_token_s=1.0), lambda _text: True)
    sent = [
        exchange(f"s{i}", at=float(i), identity=f"u{rng.randrange(20)}", canary=rng.random() < 0.5, status=status)
        for i, status in enumerate(rng.choices([200, 500], [9, 1], k=40))
    ]
    for x in sent:
        evidence.observe_exchange(x, first_of_session=True)
        evidence.observe_reward(x, float(rng.random() < 0.5), x.received_at)
        for again in rng.sample(sent, 3):
            if again.received_at <= x.received_at:
                before = evidence.processes
                assert evidence.observe_exchange(again, first_of_session=False).events == ()
                assert evidence.observe_reward(again, 0.0, 1e9).events == ()
                assert evidence.processes is before


@pytest.mark.slow
def test_a_simulation_is_the_same_for_the_same_seed_and_its_events_fold_to_its_state() -> None:
    world = World(effect=-0.3, turns=2.0, errors=0.05, feedback=0.8, delay_good_s=5.0, delay_bad_s=1.0, hostile=0.2)
    courses = [simulate(world, CONFIG, seed, 400) for seed in (1, 1, 2)]
    assert courses[0] == courses[1] != courses[2]
    assert all(course.phase in FINAL | set(LIVE) for course in courses)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "end"),
    [
        (World(control=0.8, slice_share=0.4, control_in_slice=0.2, effect_in_slice=0.6), Phase.PROMOTED),
        (World(effect=-0.4), Phase.ROLLED_BACK),
        (World(error_times=20.0, errors=0.02), Phase.ROLLED_BACK),
        (World(slow_times=12.0), Phase.ROLLED_BACK),
        (World(arm_fault=4.0), Phase.INCONCLUSIVE),
        (World(feedback=0.9, feedback_times=0.1), Phase.INCONCLUSIVE),
    ],
)
def test_simulated_worlds_end_as_they_should(world: World, end: Phase) -> None:
    config = CONFIG.model_copy(update={"probation_units": 60})
    ends = [simulate(world, config, seed, 700).phase for seed in range(3)]
    assert ends.count(end) >= 2, ends


@pytest.mark.slow
def test_a_hostile_user_with_a_third_of_the_feedback_keeps_nobody_from_the_truth() -> None:
    world = World(control=0.8, slice_share=0.4, control_in_slice=0.2, effect_in_slice=0.6, hostile=1 / 3)
    config = CONFIG.model_copy(update={"probation_units": 60})
    assert simulate(world, config, 1, 1200).phase is Phase.PROMOTED


def test_intervals_cover_and_say_nothing_without_rewards() -> None:
    rng, events = random.Random(4), list[UnitEvent]()
    assert intervals(events, 0.05) == {}
    for i in range(300):
        canary = rng.random() < 0.5
        reward = float(rng.random() < (0.8 if canary else 0.4))
        events += [UnitEvent(i, path, i, canary, 0.5, reward, i % 2 == 0, 0.0) for path in (Path.HARM, Path.PROMOTE)]
    found = intervals(events, 0.05)
    assert found["gain_low"] < 0.4 < found["gain_high"] and found["gain_low"] > 0.0
    assert found["gain_at_once_low"] == found["gain_low"], "the same rewards in the same order"
    assert found["gain_in_slice_low"] <= found["gain_low"]
    assert fold(events, CONFIG).matured_canary == sum(e.canary for e in events) / 2
