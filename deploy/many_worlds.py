"""Made-up traffic through many rollouts at once: ``simulation.simulate`` on numpy rows, for thousands of runs.

It plays worlds in which each session is one exchange of a user of its own, rated at once. A test holds it to
``simulate``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from deploy.many_rollouts import PHASES, ManyRollouts
from deploy.rollout import Phase
from deploy.rollout_config import RolloutConfig
from deploy.simulation import World
from deploy.unit_events import Path
from monitors.many import Bools, Floats

_ONE_BY_ONE: Final = ("turns", "feedback", "feedback_times", "delay_good_s", "delay_bad_s", "hostile")
"""Fields of a world that only ``simulate`` plays."""
_LOOK_EVERY: Final = 100


def play(
    world: World,
    config: RolloutConfig,
    runs: int,
    units: int,
    seed: int,
    guards: tuple[Path, ...] = (),
    start: Phase = Phase.CANARY_SMALL,
    enough: float = 1.0,
) -> ManyRollouts:
    """``runs`` rollouts of at most ``units`` units, from a phase on; the same for the same arguments. It ends when a
    share ``enough`` of them has. Of the guardrails only errors and the first token happen in a world.

    Raises:
        ValueError: for a world that has delays, silence, sessions of several exchanges or a hostile user.
    """
    usual = World()
    for name in _ONE_BY_ONE:
        if getattr(world, name) != getattr(usual, name):
            raise ValueError(f"expected a world with {name} {getattr(usual, name)}, got {getattr(world, name)}")
    rng, many = np.random.default_rng(seed), ManyRollouts(runs, config, guards, PHASES.index(start))
    for number in range(units):
        shares = _by_hand(world, number, many.shares())
        canary = rng.random(runs) < np.minimum(shares * world.arm_fault, 1.0)
        inside = rng.random(runs) < world.slice_share
        events = {path: rng.random(runs) < _chance(world, path, canary) for path in guards}
        many.unit(canary, shares, _rewards(world, _means(world, many, canary, inside, number), rng), inside, events)
        if number % _LOOK_EVERY == 0 and (~many.live).mean() >= enough:
            break
    return many


def _by_hand(world: World, number: int, wanted: Floats) -> Floats:
    for first, share in world.ramp:
        if number >= first:
            wanted = np.full(len(wanted), share)
    return wanted


def _means(world: World, many: ManyRollouts, canary: Bools, inside: Bools, number: int) -> Floats:
    within = (world.control_in_slice, world.effect_in_slice)
    control, effect = (
        np.where(inside, outside if value is None else value, outside)
        for value, outside in zip(within, (world.control, world.effect), strict=True)
    )
    late = (many.phase == PHASES.index(Phase.PROBATION)) & (many.units_in_phase >= world.late_units)
    effect = effect + world.late_effect * late
    drifted = control + world.drift * min(number / world.drift_units, 1.0)
    return np.clip(drifted + effect * canary, 0.0, 1.0)


def _rewards(world: World, means: Floats, rng: np.random.Generator) -> Floats:
    coin = (rng.random(len(means)) < means).astype(np.float64)
    if world.concentration is None:
        return coin
    sure = (means <= 0.0) | (means >= 1.0)
    inner = np.where(sure, 0.5, means) * world.concentration
    return np.where(sure, coin, rng.beta(inner, world.concentration - inner))


def _chance(world: World, path: Path, canary: Bools) -> Floats:
    """Of a guardrail's event in a session, by arm."""
    usual, times = {
        Path.ERROR: (world.errors, world.error_times),
        Path.FIRST_TOKEN: (world.slow, world.slow_times),
    }.get(path, (0.0, 1.0))
    return usual * np.where(canary, times, 1.0)
