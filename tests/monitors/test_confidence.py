"""The confidence sequence: covers the truth, shrinks, and says nothing without evidence."""

from __future__ import annotations

import math
import random

import pytest

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


@pytest.mark.slow
def test_it_seldom_excludes_the_truth() -> None:
    """At most 5 % of 60 runs by Ville; 9 would be 3.5 standard errors above that."""
    missed = 0
    for seed in range(60):
        lower, upper = interval(units(seed, 250, 0.6, 0.7))
        missed += not lower < 0.1 < upper
    assert missed <= 8
