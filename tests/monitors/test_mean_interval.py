"""The confidence sequence of a mean: it covers at every instant, and it closes in."""

from __future__ import annotations

import math
import random

import pytest

from monitors.mean_interval import mean_interval


def test_nothing_known_is_everything_possible() -> None:
    assert mean_interval([], 0.05) == (-1.0, 1.0)
    assert mean_interval([math.nan, 2.0], 0.05) == (-1.0, 1.0)
    assert mean_interval([0.0, math.nan, 1.0] * 9, 0.05) == mean_interval([0.0, 1.0] * 9, 0.05)


def test_it_is_symmetric() -> None:
    rng = random.Random(1)
    values = [float(rng.choice((-1, 0, 0, 1, 1))) for _ in range(80)]
    low, high = mean_interval(values, 0.05)
    assert mean_interval([-x for x in values], 0.05) == (-high, -low)


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, 0.7, 1.0), (-1.0, -1.0, -0.7), (0.0, -0.1, 0.1)])
def test_constant_values_are_closed_in_on(value: float, low: float, high: float) -> None:
    found = mean_interval([value] * 100, 0.05)
    assert low <= found[0] <= value <= found[1] <= high


@pytest.mark.slow
@pytest.mark.parametrize("mean", [-0.3, 0.6])
def test_it_misses_the_mean_at_any_instant_no_more_often_than_alpha(mean: float) -> None:
    rng, runs = random.Random(7), 150
    missed = 0
    for _ in range(runs):
        values = [1.0 if rng.random() < (1.0 + mean) / 2.0 else -1.0 for _ in range(100)]
        low, high = mean_interval(values, 0.1)  # it only shrinks, so its end tells of every instant before
        missed += not low <= mean <= high
    assert missed / runs <= 0.1 + 3.0 * math.sqrt(0.09 / runs)
