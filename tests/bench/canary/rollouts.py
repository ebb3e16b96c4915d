"""Whole rollouts: error of equal arms for every preset and stress, and how soon a good candidate is promoted."""

from __future__ import annotations

import math

import numpy as np

from deploy.many_worlds import play
from deploy.rollout import Phase
from deploy.rollout_config import Preset, RolloutConfig
from deploy.simulation import Course, World, simulate
from deploy.unit_events import Path
from tests.bench.canary.lines import Line, median, rate
from tests.bench.canary.processes import ACCEPT

STRESSES: dict[str, World] = {
    # people complain at once and praise late; a fifth of them says anything
    "delayed feedback": World(feedback=0.5, delay_good_s=300.0, delay_bad_s=30.0),
    "sticky sessions, clumped errors": World(turns=6.0, errors=0.03, slow=0.05),
    "hostile user, a third of feedback": World(hostile=1 / 3),
}
GOOD = World(control=0.85, slice_share=0.3, control_in_slice=0.1, effect_in_slice=0.7, hostile=1 / 3)
"""A candidate that is right on 80 % of a slice of 30 %, and a capped hostile user."""


def wrong(preset: Preset, name: str, back: int, forward: int, runs: int) -> list[Line]:
    """The two wrong decisions about equal arms: sent back (or void), and promoted as superior."""
    alpha = RolloutConfig(preset=preset).alpha
    # 1 % is too little for a margin of its own: two standard errors of what so many runs can tell
    accept = ACCEPT if alpha == 0.05 else alpha + 2.0 * math.sqrt(alpha * (1.0 - alpha) / runs)
    return [
        rate(f"A/A {preset}, {name}: sent back", back, runs, accept),
        rate(f"A/A {preset}, {name}: promoted", forward, runs, accept),
    ]


def plain(preset: Preset, name: str, runs: int, units: int) -> list[Line]:
    """Equal arms, vectorised: plain, under a ramp with drift, or with a sample-ratio fault."""
    world = World(errors=0.01)
    if name == "ramp and drift":
        ramp = ((0, 0.05), (units // 3, 0.25), (2 * units // 3, 0.5))
        world = world.model_copy(update={"control": 0.7, "drift": -0.2, "drift_units": units, "ramp": ramp})
    if name == "sample-ratio fault":
        world = world.model_copy(update={"arm_fault": 2.0})
    many = play(world, RolloutConfig(preset=preset), runs, units, 21, (Path.ERROR, Path.FIRST_TOKEN))
    proved = int(np.isfinite(many.moved_at[2]).sum())
    if name == "sample-ratio fault":
        void = rate(f"A/A {preset}, {name}: found void", int((many.phase == 5).sum()), runs)
        return [void, *wrong(preset, name, int((many.phase == 4).sum()), proved, runs)]
    before = ~np.isfinite(many.moved_at[2])
    back = int((before & ((many.phase == 4) | (many.phase == 5))).sum())
    return wrong(preset, name, back, proved, runs)


def stressed(preset: Preset, name: str, runs: int, sessions: int) -> list[Line]:
    """Equal arms through the production code, one run after the other."""
    config = RolloutConfig(preset=preset, maturity_s=900.0, lateness_s=0.0)
    courses = [simulate(STRESSES[name], config, seed, sessions) for seed in range(runs)]
    back = sum(c.phase in (Phase.ROLLED_BACK, Phase.INCONCLUSIVE) and not c.reached(Phase.PROBATION) for c in courses)
    return wrong(preset, name, back, sum(c.reached(Phase.PROBATION) is not None for c in courses), runs)


def promoted(preset: Preset, runs: int) -> list[Line]:
    """Units (both arms, capped ones not counted) until each step of a good candidate."""
    config = RolloutConfig(preset=preset, maturity_s=1.0, lateness_s=0.0)
    courses = [simulate(GOOD, config, seed, 6000) for seed in range(runs)]
    lines: list[Line] = []
    for phase, step in ((Phase.CANARY_HALF, "first step"), (Phase.PROBATION, "superior on its slice")):
        found = [_units(course, phase) for course in courses]
        lines.append(median(f"good candidate, {preset}: units to {step}", found))
    return lines


def second(share: float, effect: float, sessions: int, runs: int, bar: float | None = None) -> list[Line]:
    """Rated units until a champion that is worse by ``effect`` goes back in a second probation, which is let go on; and
    how many did within the units that end it.
    """
    ends = RolloutConfig().probation_units
    config = RolloutConfig(share_second_probation=share, probation_units=10**9, probation_s=1e9, deadline_s=1e9)
    world = World(effect=effect, slow=0.0)
    courses = [simulate(world, config, seed, sessions, Phase.SECOND_PROBATION) for seed in range(runs)]
    steps = [course.reached(Phase.ROLLED_BACK) for course in courses]
    found = [float("inf") if step is None else float(step.rewarded) for step in steps]
    name = f"second probation at {share:.0%}, {100.0 * effect:+.0f} pp"
    within = rate(f"{name}: back within {ends}", sum(f <= ends for f in found), runs, None if effect else ACCEPT)
    return [within, median(f"{name}: rated units to rollback", found, bar)] if effect else [within]


def _units(course: Course, phase: Phase) -> float:
    step = course.reached(phase)
    return float("inf") if step is None else float(step.assigned)
