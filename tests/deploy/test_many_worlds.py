"""Made-up worlds on numpy rows against the same worlds through the production code."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pytest

from deploy.many_rollouts import PHASES
from deploy.many_worlds import play
from deploy.rollout import Phase
from deploy.rollout_config import RolloutConfig
from deploy.simulation import World, simulate
from deploy.unit_events import Path

CONFIG = RolloutConfig(maturity_s=1.0, lateness_s=0.0, probation_units=10**6)
GUARDS = (Path.ERROR, Path.FIRST_TOKEN)
SLICE = World(control=0.8, slice_share=0.4, control_in_slice=0.2, effect_in_slice=0.6)
WORLDS: dict[str, tuple[World, Phase, Phase]] = {
    "a loss": (World(effect=-0.4), Phase.CANARY_SMALL, Phase.ROLLED_BACK),
    "a gain on a slice": (SLICE, Phase.CANARY_SMALL, Phase.PROBATION),
    "graded rewards": (
        World(control=0.5, effect=0.1, concentration=10.0),
        Phase.CANARY_HALF,
        Phase.PROBATION,
    ),
    "shares by hand while rewards fall": (
        World(control=0.9, effect=-0.3, drift=-0.4, drift_units=150, ramp=((0, 0.1), (100, 0.5))),
        Phase.CANARY_SMALL,
        Phase.ROLLED_BACK,
    ),
    "a loss that begins late": (World(late_effect=-0.6, late_units=100), Phase.PROBATION, Phase.ROLLED_BACK),
    "errors": (World(errors=0.05, error_times=8.0), Phase.CANARY_SMALL, Phase.ROLLED_BACK),
    "slow": (World(slow=0.1, slow_times=6.0), Phase.CANARY_SMALL, Phase.ROLLED_BACK),
    "a broken assignment": (World(arm_fault=3.0), Phase.CANARY_SMALL, Phase.INCONCLUSIVE),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_ends_come_as_soon_as_in_the_production_code(name: str) -> None:
    world, start, end = WORLDS[name]
    many = play(world, CONFIG, 120, 800, 5, GUARDS, start, enough=0.7).moved_at[PHASES.index(end)]
    courses = [simulate(world, CONFIG, seed, 800, start) for seed in range(15)]
    steps = [course.reached(end) for course in courses]
    one_by_one = median(float("inf") if step is None else float(step.assigned) for step in steps)
    assert 0.6 < median(many.tolist()) / one_by_one < 1.6


@pytest.mark.slow
def test_equal_arms_are_told_apart_by_neither_ramp_nor_drift_nor_grades() -> None:
    world = World(
        control=0.7, drift=-0.4, drift_units=400, ramp=((0, 0.05), (133, 0.25), (266, 0.5)), concentration=3.0
    )
    many = play(world, CONFIG, 300, 400, 6)
    for end in (Phase.ROLLED_BACK, Phase.INCONCLUSIVE, Phase.PROBATION):
        assert np.isfinite(many.moved_at[PHASES.index(end)]).mean() < CONFIG.alpha
    assert all(simulate(world, CONFIG, seed, 400).phase in (Phase.CANARY_SMALL, Phase.CANARY_HALF) for seed in range(3))


def test_the_same_arguments_give_the_same_rollouts_and_it_ends_when_enough_have() -> None:
    first, again, other = (play(World(effect=-0.9), CONFIG, 20, 300, seed, enough=0.5) for seed in (1, 1, 2))
    assert np.array_equal(first.moved_at, again.moved_at)
    assert not np.array_equal(first.moved_at, other.moved_at)
    assert first.assigned.max() < 300


@pytest.mark.parametrize("field", [{"turns": 2.0}, {"feedback": 0.5}, {"delay_bad_s": 1.0}, {"hostile": 0.1}])
def test_what_it_cannot_play_is_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"with {next(iter(field))} "):
        play(World(**field), CONFIG, 2, 2, 1)
