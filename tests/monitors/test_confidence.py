"""The confidence sequence: covers the truth, shrinks, and says nothing without evidence."""

from __future__ import annotations

import math
import random

import pytest

from monitors import bets
from monitors.confidence import interval


def units(seed: int, count: int, control: float, canary: float) -> list[tuple[bool, float, float]]:
    rng = random.Random(seed)
    arms = [rng.random() < 0.5 for _ in range(count)]
    return [(arm, 0.5, float(rng.random() < (canary if arm else control))) for arm in arms]


def test_without_usable_units_nothing_is_excluded() -> None:
    assert interval([]) == (-1.0, 1.0)
    assert interval([(True, 1.0, 1.0), (False, 0.5, math.nan)]) == (-1.0, 1.0)


@pytest.mark.slow
def test_it_shrinks_around_the_truth() -> None:
    drawn = units(3, 1500, 0.4, 0.7)
    wide, narrow = interval(drawn[:200]), interval(drawn)
    assert wide[0] <= narrow[0] < 0.3 < narrow[1] <= wide[1]
    assert narrow[0] > 0.1 and narrow[1] < 0.5


def excluded(drawn: list[tuple[bool, float, float]], direction: bets.Direction, margin: float) -> bool:
    """Whether the process that decides rollouts excludes minus ``margin``, unit by unit."""
    spec, state = bets.ContrastSpec(direction, margin), bets.ContrastState()
    for unit in drawn:
        state = bets.update(state, spec, *unit)
    return state.max_log_e >= math.log(2.0 / 0.05)


@pytest.mark.parametrize(("seed", "share"), [(1, 0.5), (2, 0.1), (3, 0.95)])
def test_its_bounds_are_where_the_deciding_process_ends_to_a_thousandth(seed: int, share: float) -> None:
    rng = random.Random(seed)
    drawn: list[tuple[bool, float, float]] = []
    for _ in range(650):  # past six deals of wealth
        arm = rng.random() < share
        drawn.append((arm, share, min(max(rng.gauss(0.3 if arm else 0.8, 0.2), 0.0), 1.0)))
    low, high = interval(drawn)
    assert -1.0 < low < -0.5 < high < 0.0
    assert excluded(drawn, "promote", -low) and not excluded(drawn, "promote", -low - 0.001)
    assert excluded(drawn, "rollback", -high) and not excluded(drawn, "rollback", -high + 0.001)
    mirrored = [(not arm, 1.0 - p, reward) for arm, p, reward in drawn]
    assert interval(mirrored) == pytest.approx((-high, -low), abs=1e-9)


def test_the_whole_range_can_be_reached() -> None:
    low, high = interval(units(4, 1500, 0.03, 0.97))
    assert 0.85 < low < 0.94 < high < 1.0
    low, high = interval(units(4, 1500, 0.97, 0.03))
    assert -1.0 < low < -0.94 < high < -0.85


def test_graded_rewards_are_told_apart_by_less_than_a_point() -> None:
    rng = random.Random(6)
    arms = [rng.random() < 0.5 for _ in range(4000)]
    drawn = [(arm, 0.5, 0.6 + 0.01 * arm + rng.uniform(-0.1, 0.1)) for arm in arms]
    low, high = interval(drawn)
    assert 0.0 < low < 0.01 < high < 0.02


@pytest.mark.slow
def test_it_seldom_excludes_the_truth() -> None:
    """At most 5 % of 60 runs by Ville; 9 would be 3.5 standard errors above that."""
    missed = 0
    for seed in range(60):
        lower, upper = interval(units(seed, 250, 0.6, 0.7))
        missed += not lower < 0.1 < upper
    assert missed <= 8
