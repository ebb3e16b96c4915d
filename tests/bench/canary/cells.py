"""Every measurement of the canary's decisions, and the pool that runs them.

Medians come from ``5 * runs`` vectorised runs, and so do the error rates of plain traffic; delayed, sticky and hostile
traffic goes through the production code, ``runs`` times a preset. The vectorised twin is held to it by tests.
"""

from __future__ import annotations

from collections.abc import Callable

from deploy.rollout_config import PRESETS
from tests.bench.canary import processes, rivals, rollouts
from tests.bench.canary.lines import Line

Cell = tuple[Callable[..., list[Line]], tuple[object, ...]]

# (effect, share): units by the rewards alone, units within the combined harm evidence
ROLLBACK_BARS = {
    (-0.05, 0.1): (7000, 9000),
    (-0.10, 0.1): (1800, 2600),
    (-0.20, 0.1): (500, 650),
    (-0.05, 0.5): (2800, 3500),
    (-0.10, 0.5): (800, 900),
    (-0.20, 0.5): (210, 260),
}


# (share, effect): sessions played at most, rated units to the rollback
SECOND_BARS = {
    (0.5, -0.2): (1500, 260),
    (0.5, -0.1): (3500, 900),
    (0.5, -0.05): (2100, None),
    (0.5, 0.0): (2100, None),
    (0.95, -0.2): (4500, None),
    (0.95, -0.1): (9000, None),
}


def cells(runs: int) -> list[Cell]:
    """Every measurement, longest first within its kind."""
    many, slower = 5 * runs, processes.slower_times(1.5)
    made: list[Cell] = [(processes.rollback, (e, s, many, *bars)) for (e, s), bars in ROLLBACK_BARS.items()]
    made += [(processes.superiority, (0.05, s, many, bar)) for s, bar in ((0.1, 7500), (0.5, 2700))]
    made += [(processes.rare, ("error x5 at 1 %", 0.01, 5.0, s, many, bar)) for s, bar in ((0.1, 1100), (0.5, 500))]
    made += [(processes.rare, ("latency x1.5", 0.05, slower, s, many, bar)) for s, bar in ((0.1, 420), (0.5, 200))]
    made += [(processes.late_harm, (effect, 10_000, runs)) for effect in (-0.1, -0.2)]
    made += [(processes.equal_arms, (share, many)) for share in (0.1, 0.5)]
    for preset in PRESETS:
        for name in ("plain", "ramp and drift", "sample-ratio fault"):
            made.append((rollouts.plain, (preset, name, many, 3000)))
        made += [(rollouts.stressed, (preset, name, runs, 1000)) for name in rollouts.STRESSES]
        made.append((rollouts.promoted, (preset, max(runs // 2, 20))))
    made += [
        (rollouts.second, (s, e, sessions, runs if s < 0.9 else max(runs // 4, 20), bar))
        for (s, e), (sessions, bar) in SECOND_BARS.items()
    ]
    made += [(rivals.rivals, (name, 0.0, runs)) for name in ("plain", "ramp and drift")]
    made += [(rivals.rivals, ("plain", effect, runs)) for effect in (-0.05, -0.1, -0.2)]
    return made


def measure(cell: Cell) -> list[Line]:
    """One cell, in a worker."""
    work, arguments = cell
    return work(*arguments)
