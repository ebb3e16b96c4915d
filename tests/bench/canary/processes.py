"""Single e-processes at a fixed share: error of equal arms, units to a decision. Control Bernoulli .6, threshold 20."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from deploy.guards import REWARD_WEIGHT
from deploy.many_rollouts import PHASES
from deploy.many_worlds import play
from deploy.rollout import Phase
from deploy.rollout_config import RolloutConfig
from deploy.simulation import World
from monitors.bets import ContrastSpec, Direction
from monitors.many import Floats, ManyContrasts, ManyDraws
from monitors.owner import OwnerSpec
from tests.bench.canary.lines import Line, median, rate

CONTROL = 0.6
ALONE = math.log(20.0)
COMBINED = math.log((20.0 - (1.0 - REWARD_WEIGHT)) / REWARD_WEIGHT)
"""Log e-value that rewards alone need when every other part of the harm evidence is quiet (e = 1)."""
ACCEPT = 0.065
"""Measured error that is accepted of 5 %: a thousand runs have a standard error of .7 points."""


def hits(
    direction: Direction, effect: float, share: float, runs: int, horizon: int, seed: int
) -> tuple[Floats, Floats]:
    """Units until the e-value reaches 20 alone, and until it carries the combined harm evidence there; inf: never."""
    rng, many = np.random.default_rng(seed), ManyContrasts(runs, ContrastSpec(direction))
    alone, combined, rows = np.full(runs, np.inf), np.full(runs, np.inf), np.arange(runs)
    for unit in range(1, horizon + 1):
        canary = rng.random(len(rows)) < share
        reward = (rng.random(len(rows)) < CONTROL + effect * canary).astype(np.float64)
        many.update(canary, np.full(len(rows), share), reward)
        log_e = many.log_e()
        for bound, found in ((ALONE, alone), (COMBINED, combined)):
            reached = rows[log_e >= bound]
            found[reached] = np.minimum(found[reached], unit)
        if unit % 100 == 0:
            open_rows = ~np.isfinite(combined[rows])
            if not open_rows.any():
                break
            many.keep(open_rows)
            rows = rows[open_rows]
    return alone, combined


def equal_arms(share: float, runs: int) -> list[Line]:
    """How often equal arms are told apart within 4,000 units."""
    lines: list[Line] = []
    directions: tuple[Direction, ...] = ("promote", "rollback")
    for direction in directions:
        alone, _ = hits(direction, 0.0, share, runs, 4000, 11)
        wrong = int(np.isfinite(alone).sum())
        lines.append(rate(f"A/A {direction} process at {share:.0%} share", wrong, runs, ACCEPT))
    return lines


def rollback(effect: float, share: float, runs: int, bar: float, combined_bar: float) -> list[Line]:
    """Units until a loss is found, by the rewards alone and within the combined harm evidence."""
    alone, combined = hits("rollback", effect, share, runs, int(2.5 * combined_bar), 12)
    name = f"rollback at {100 * effect:+.0f} pp, {share:.0%} share"
    return [median(name, alone, bar), median(f"{name}, combined", combined, combined_bar)]


def superiority(effect: float, share: float, runs: int, bar: float) -> list[Line]:
    """Units until a gain is found."""
    alone, _ = hits("promote", effect, share, runs, int(2.5 * bar), 13)
    return [median(f"superiority at {100 * effect:+.0f} pp, {share:.0%} share", alone, bar)]


def rare(name: str, base: float, times: float, share: float, runs: int, bar: float) -> list[Line]:
    """Requests until a ``times`` higher rate of an event is found."""
    rng, many = np.random.default_rng(14), ManyDraws.owners(runs, OwnerSpec())
    found = np.full(runs, np.inf)
    for request in range(1, int(5 * bar) + 1):
        canary = rng.random(runs) < share
        happened = rng.random(runs) < base * np.where(canary, times, 1.0)
        if happened.any():
            many.update(canary, np.full(runs, share), happened)
            found = np.where(many.log_e() >= ALONE, np.minimum(found, request), found)
    return [median(f"{name}, {share:.0%} share", found, bar)]


def slower_times(factor: float) -> float:
    """Rate of replies beyond the control's 95th percentile when log-normal latency (sigma .6) grows by a factor."""
    normal = NormalDist()
    return (1.0 - normal.cdf(normal.inv_cdf(0.95) - math.log(factor) / 0.6)) / 0.05


def late_harm(effect: float, onset: int, runs: int) -> list[Line]:
    """Units after the onset of a loss ``onset`` units into probation until the rollout goes back."""
    world = World(control=CONTROL, late_effect=effect, late_units=onset)
    config = RolloutConfig(probation_units=10**9)
    many = play(world, config, runs, onset + 14_000, 15, start=Phase.PROBATION, enough=0.6)
    back = many.moved_at[PHASES.index(Phase.ROLLED_BACK)]
    early = int((back <= onset).sum())
    name = f"harm of {100 * effect:+.0f} pp that begins {onset:,} units into probation"
    return [median(name, back[back > onset] - onset), rate(f"{name}: sent back before", early, runs, ACCEPT)]
