"""Rare events and the sample ratio: error under H0, power, memory."""

from __future__ import annotations

import json
import math
import random

import pytest

from monitors import bets, owner, ratio
from monitors.owner import OwnerSpec, OwnerState
from monitors.ratio import SampleRatioState


def owned(seed: int, events: int, propensity: float, rate_ratio: float, spec: OwnerSpec) -> OwnerState:
    """Events of which the canary owns its share at a given ratio of the rates."""
    rng = random.Random(seed)
    share = propensity * rate_ratio / (propensity * rate_ratio + 1 - propensity)
    state = OwnerState()
    for _ in range(events):
        state = owner.update(state, spec, rng.random() < share, propensity)
    return state


def test_agrees_with_the_likelihood_ratio_written_out() -> None:
    state = OwnerState()
    draws = [(True, 0.1), (False, 0.1), (True, 0.5)]
    for canary, propensity in draws:
        state = owner.update(state, OwnerSpec(2.0), canary, propensity)
    expected = 0.0
    for rho, weight in zip(owner.EXCESS, owner.EXCESS_WEIGHTS, strict=True):
        product = 1.0
        for canary, p in draws:
            null = p * 2 / (p * 2 + 1 - p)
            tilt = p * 2 * rho / (p * 2 * rho + 1 - p)
            product *= tilt / null if canary else (1 - tilt) / (1 - null)
        expected += weight * product
    assert owner.log_e(state) == pytest.approx(math.log(expected))


def test_a_five_times_higher_rate_is_found_and_an_equal_one_is_not() -> None:
    assert owned(1, 40, 0.5, 5.0, OwnerSpec()).max_log_e > math.log(20)
    assert owned(1, 40, 0.5, 1.0, OwnerSpec()).max_log_e < math.log(20)


@pytest.mark.slow
def test_equal_rates_are_seldom_told_apart() -> None:
    """Ville: at most 5 % of 400 runs; 32 is 2.75 standard errors above the bound."""
    wrong = sum(owned(100 + s, 200, 0.1, 1.0, OwnerSpec()).max_log_e >= math.log(20) for s in range(400))
    assert wrong <= 32


def test_events_of_undrawn_units_only_count_as_refused() -> None:
    state = owner.update(OwnerState(), OwnerSpec(), True, 1.0)
    state = owner.update(state, OwnerSpec(), True, math.nan)
    assert state == OwnerState(refused=2)


def test_owner_json_and_back_is_the_same_bit_for_bit() -> None:
    state = owned(3, 50, 0.25, 2.0, OwnerSpec())
    assert OwnerState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    with pytest.raises(ValueError, match="another release"):
        OwnerState.from_dict({**state.to_dict(), "log_wealth": []})


def assigned(seed: int, units: int, promised: float, real: float) -> SampleRatioState:
    rng = random.Random(seed)
    state = SampleRatioState()
    for _ in range(units):
        state = ratio.update(state, rng.random() < real, promised)
    return state


def test_a_broken_assignment_is_found_both_ways() -> None:
    assert assigned(1, 800, 0.1, 0.05).max_log_e > math.log(20)
    assert assigned(1, 800, 0.1, 0.2).max_log_e > math.log(20)


@pytest.mark.slow
def test_an_honest_assignment_is_seldom_accused() -> None:
    """Ville: at most 5 % of 300 runs; 27 is 3.2 standard errors above the bound."""
    assert sum(assigned(200 + s, 300, 0.1, 0.1).max_log_e >= math.log(20) for s in range(300)) <= 27


def test_ratio_json_and_back_is_the_same_bit_for_bit() -> None:
    state = assigned(5, 70, 0.25, 0.25)
    assert SampleRatioState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    assert state.expected_canary == pytest.approx(17.5)
    assert ratio.update(state, True, math.nan) == state


@pytest.mark.parametrize("propensity", [5e-324, 1e-310, 0.9999999999999999])
def test_chances_at_the_edge_of_floats_are_no_draws(propensity: float) -> None:
    assert owner.update(OwnerState(), OwnerSpec(), True, propensity) == OwnerState(refused=1)
    assert ratio.update(SampleRatioState(), False, propensity) == SampleRatioState()
    refused = bets.update(bets.ContrastState(), bets.ContrastSpec("rollback"), True, propensity, 0.0)
    assert refused == bets.ContrastState(refused=1)
