"""Units to a threshold as computed, against processes that are played."""

from __future__ import annotations

import math
from statistics import NormalDist, median

import numpy as np
import pytest

from deploy.guards import REWARD_WEIGHT
from deploy.passage import both, chance_within, units_to_reach
from monitors.bets import STAKES, Direction
from tests.bench.canary.processes import COMBINED, CONTROL, hits

EFFECTS = (0.05, 0.1, 0.2, 0.3)
ALONE = math.log(20.0)


def variance(effect: float, share: float) -> float:
    """Of a binary reward, both arms together."""
    mean = CONTROL + effect * share
    return mean * (1.0 - mean)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("direction", ["promote", "rollback"])
def test_medians_are_those_of_simulated_processes_within_a_fifth(direction: Direction, share: float) -> None:
    """Gains are looked for at 20, losses also where rewards alone carry the harm evidence."""
    ratios: dict[tuple[float, str], float] = {}
    for effect in EFFECTS:
        signed = effect if direction == "promote" else -effect
        bars = {"alone": ALONE} if direction == "promote" else {"alone": ALONE, "combined": COMBINED}
        told = {name: units_to_reach(effect, variance(signed, share), share, bar) for name, bar in bars.items()}
        horizon = int(1.25 * max(told.values())) + 1
        alone, combined = hits(direction, signed, share, 800, horizon, seed=31)
        for name, units in told.items():
            ratios[effect, name] = units / median((alone if name == "alone" else combined).tolist())
    assert all(0.8 < ratio < 1.2 for ratio in ratios.values()), ratios


@pytest.mark.slow
def test_a_share_of_the_processes_is_through_within_the_units_of_that_share() -> None:
    effect, share = 0.2, 0.1
    found, _ = hits("promote", effect, share, 400, 1500, seed=32)
    for chance in (0.2, 0.5, 0.8, 0.9):
        units = units_to_reach(effect, variance(effect, share), share, ALONE, chance)
        assert float((found <= units).mean()) == pytest.approx(chance, abs=0.08)


def test_more_is_found_sooner_and_what_moves_no_stake_never() -> None:
    units = [units_to_reach(effect, 0.24, 0.1, ALONE) for effect in (0.02, *EFFECTS, 0.9)]
    assert units == sorted(units, reverse=True) and units[-1] >= 1.0
    assert math.isfinite(units[0])
    assert units_to_reach(0.4 * min(STAKES), 0.24, 0.5, ALONE) == math.inf
    assert units_to_reach(0.0, 0.24, 0.5, ALONE) == units_to_reach(-0.1, 0.24, 0.5, ALONE) == math.inf
    assert units_to_reach(0.1, 0.24, 0.5, COMBINED) > units_to_reach(0.1, 0.24, 0.5, ALONE)
    assert units_to_reach(0.1, 0.04, 0.5, ALONE) < 0.3 * units_to_reach(0.1, 0.24, 0.5, ALONE)
    assert units_to_reach(0.1, 0.24, 0.5, ALONE, 0.9) > 1.5 * units_to_reach(0.1, 0.24, 0.5, ALONE)
    assert pytest.approx(math.exp(COMBINED)) == (20.0 - 1.0 + REWARD_WEIGHT) / REWARD_WEIGHT


@pytest.mark.parametrize(
    ("p", "q", "correlation"), [(0.5, 0.5, 0.0), (0.5, 0.7, 0.5), (0.6, 0.6, 0.9), (0.9, 0.2, 0.7)]
)
def test_both_is_the_chance_of_two_correlated_motions(p: float, q: float, correlation: float) -> None:
    rng, (a, b) = np.random.default_rng(5), map(NormalDist().inv_cdf, (p, q))
    first, rest = rng.standard_normal((2, 400_000))
    second = correlation * first + math.sqrt(1.0 - correlation**2) * rest
    assert both(p, q, correlation) == pytest.approx(float(((first < a) & (second < b)).mean()), abs=0.004)


def test_both_at_its_edges() -> None:
    assert both(0.3, 0.6, 1.0) == 0.3
    assert both(0.0, 0.6, 0.5) == both(0.6, 0.0, 1.0) == 0.0 and both(1.0, 0.6, 0.5) == 0.6
    assert both(0.5, 0.5, 0.5) == pytest.approx(0.25 + math.asin(0.5) / (2.0 * math.pi), abs=1e-3)


def test_the_chance_within_the_units_of_a_chance_is_that_chance() -> None:
    for chance in (0.2, 0.5, 0.9):
        units = units_to_reach(0.1, 0.24, 0.5, ALONE, chance)
        assert chance_within(units, 0.1, 0.24, 0.5, ALONE) == pytest.approx(chance, abs=0.01)
    assert chance_within(0.0, 0.1, 0.24, 0.5, ALONE) == chance_within(100.0, 0.0, 0.24, 0.5, ALONE) == 0.0
