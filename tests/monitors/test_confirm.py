"""The second look: few strange prompts are enough, and quiet traffic is confirmed as seldom as its level says."""

from __future__ import annotations

import numpy as np
import pytest

from monitors.confirm import Confirmation, Seen, Strangeness, confirm

KNOWN = 400


def by_novelty(since: list[float], session_size: int, seed: int) -> Confirmation:
    """Of scores alone: without a reference to learn, the classifier says nothing."""
    rng = np.random.default_rng(seed)
    known = np.repeat(rng.random(KNOWN // session_size), session_size)
    usual = [Seen("known", f"k{i // session_size}") for i in range(KNOWN)]
    fresh = [Seen("fresh", f"f{i // session_size}") for i in range(len(since))]
    return confirm([], [], fresh, Strangeness(usual, known.tolist(), fresh, since), seed, 0.0025)


@pytest.mark.slow
@pytest.mark.parametrize(("fresh", "strange"), [(16, 3), (40, 5), (80, 8), (240, 15)])
def test_few_strange_prompts_among_many_usual_ones_confirm(fresh: int, strange: int) -> None:
    usual = np.random.default_rng(fresh).random(fresh - strange).tolist()
    found = by_novelty([*usual, *[2.0 + i for i in range(strange)]], 1, 1)
    assert found.test == "novelty" and found.p_value <= 0.0025 and found.fresh == fresh
    assert by_novelty([*usual, *[0.5] * strange], 1, 1).p_value > 0.0025


@pytest.mark.slow
def test_half_of_prompts_that_are_a_little_strange_confirm() -> None:
    rng = np.random.default_rng(3)
    fresh = [*rng.random(40).tolist(), *rng.uniform(0.8, 1.1, 40).tolist()]
    assert by_novelty(fresh, 1, 2).p_value <= 0.0025


@pytest.mark.slow
def test_one_strange_session_is_no_drift() -> None:
    """Five prompts of one session are one piece of evidence, not five."""
    usual = np.repeat(np.random.default_rng(4).random(15), 5).tolist()
    assert by_novelty([*usual, *[2.0] * 5], 5, 3).p_value > 0.0025


@pytest.mark.slow
@pytest.mark.parametrize("session_size", [1, 4])
def test_quiet_traffic_is_confirmed_as_seldom_as_the_level_says(session_size: int) -> None:
    """The p-value is twice a test's: at most a tenth of 20 quiet looks lies below .2; eight would be p < .001."""
    low = 0
    for seed in range(20):
        quiet = np.repeat(np.random.default_rng(1000 + seed).random(48 // session_size), session_size)
        low += by_novelty(quiet.tolist(), session_size, seed).p_value <= 0.2
    assert low < 8
