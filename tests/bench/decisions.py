"""How soon, and how wrongly, the rollout's decisions come: python -m tests.bench.decisions [runs]

Prints A/A error (looked at after every unit) and median units to a decision at control Bernoulli .6, threshold 20.
Units are sessions with a reward, both arms together; runs that do not decide within the horizon count as infinite.
"""

from __future__ import annotations

import math
import random
import sys
from statistics import median

from monitors import bets, owner
from monitors.bets import ContrastSpec, ContrastState
from monitors.owner import OwnerSpec, OwnerState

CONTROL = 0.6
BOUND = math.log(20.0)


def units_to_decide(spec: ContrastSpec, effect: float, share: float, horizon: int, seed: int) -> float:
    """Units until the e-value reaches 20; infinity when it does not."""
    rng = random.Random(seed)
    state = ContrastState()
    for unit in range(1, horizon + 1):
        canary = rng.random() < share
        reward = float(rng.random() < CONTROL + (effect if canary else 0.0))
        state = bets.update(state, spec, canary, share, reward)
        if state.max_log_e >= BOUND:
            return unit
    return math.inf


def requests_to_tell(times: float, rate: float, share: float, horizon: int, seed: int) -> float:
    """Requests until a ``times`` higher error rate of the canary is told at 20."""
    rng = random.Random(seed)
    state = OwnerState()
    for request in range(1, horizon + 1):
        canary = rng.random() < share
        if rng.random() < rate * (times if canary else 1.0):
            state = owner.update(state, OwnerSpec(), canary, share)
            if state.max_log_e >= BOUND:
                return request
    return math.inf


def row(name: str, share: float, found: list[float], bar: str) -> None:
    decided = sum(math.isfinite(x) for x in found) / len(found)
    middle = median(found)
    shown = f"{middle:.0f}" if math.isfinite(middle) else "-"
    print(f"{name:34} {share:5.2f} {decided:8.3f} {shown:>8} {bar:>8}", flush=True)


def main(runs: int) -> None:
    print(f"{'decision':34} {'share':>5} {'decided':>8} {'median':>8} {'bar':>8}   ({runs} runs)")
    promote, rollback = ContrastSpec("promote"), ContrastSpec("rollback")
    for share in (0.1, 0.5):
        for name, spec in (("A/A promote", promote), ("A/A rollback", rollback)):
            row(name, share, [units_to_decide(spec, 0.0, share, 3000, s) for s in range(2 * runs)], "<= .05")
    bars = {(-0.05, 0.1): 7000, (-0.1, 0.1): 1800, (-0.2, 0.1): 500, (-0.05, 0.5): 2800, (-0.1, 0.5): 800}
    bars |= {(-0.2, 0.5): 210, (0.05, 0.1): 7500, (0.05, 0.5): 2700}
    for (effect, share), bar in bars.items():
        spec = promote if effect > 0 else rollback
        found = [units_to_decide(spec, effect, share, 4 * bar, s) for s in range(runs)]
        row(f"{'superiority' if effect > 0 else 'rollback'} at {effect:+.2f}", share, found, str(bar))
    for share, bar in ((0.1, 1100), (0.5, 500)):
        found = [requests_to_tell(5.0, 0.01, share, 8 * bar, s) for s in range(runs)]
        row("errors x5 at 1 % (requests)", share, found, str(bar))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
