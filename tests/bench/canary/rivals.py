"""What others do, on the same made-up traffic: mSPRT, a z-test with peeking, and the documented threshold rules.

mSPRT: Johari et al., "Always valid inference", Operations Research 2022, with the plug-in variance and tau = .1.
Argo Rollouts: an analysis metric fails a rollout when more than ``failureLimit`` measurements fail. Flagger: a canary
is rolled back when ``threshold`` checks failed. Both measure the canary's mean reward over intervals of 500 units
against a floor five points below the control's true mean.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from monitors.many import Bools, Floats
from tests.bench.canary.lines import Line, median, rate

INTERVAL, FLOOR, BURN = 500, 0.55, 30
_CHUNK = 50


def first(decided: Bools) -> Floats:
    """Units until the first True of each row; inf without one."""
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, np.inf)


def pooled(canary: Floats, reward: Floats) -> dict[str, Floats]:
    """Units until a rule on the pooled means rolls back."""
    arms: list[tuple[Floats, Floats, Floats]] = []
    for arm in (canary, 1.0 - canary):
        count = np.maximum(arm.cumsum(axis=1), 1.0)
        mean = (arm * reward).cumsum(axis=1) / count
        spread = (arm * reward * reward).cumsum(axis=1) / count - mean * mean
        arms.append((count, mean, np.maximum(spread, 1e-12) * count / np.maximum(count - 1.0, 1.0)))
    (n1, m1, v1), (n0, m0, v0) = arms
    variance, contrast = v1 / n1 + v0 / n0, m1 - m0
    enough = (n1 >= BURN) & (n0 >= BURN)
    tau = 0.01
    log_e = 0.5 * np.log(variance / (variance + tau)) + contrast**2 * tau / (2 * variance * (variance + tau))
    return {
        "z-test with peeking": first(enough & (contrast / np.sqrt(variance) < -1.645)),
        "mSPRT": first(enough & (contrast < 0) & (log_e >= math.log(1 / 0.05))),
    }


def thresholds(canary: Floats, reward: Floats) -> dict[str, Floats]:
    """Units until a threshold rule rolls back."""
    runs, units = canary.shape
    shape = (runs, units // INTERVAL, INTERVAL)
    hits = (canary * reward).reshape(shape).sum(axis=2)
    means = hits / np.maximum(canary.reshape(shape).sum(axis=2), 1.0)
    failed: NDArray[np.int64] = (means < FLOOR).cumsum(axis=1)
    return {
        "Argo (failureLimit 3)": first(failed > 3) * INTERVAL,
        "Flagger (threshold 5)": first(failed >= 5) * INTERVAL,
    }


def rivals(name: str, effect: float, runs: int, units: int = 10_000) -> list[Line]:
    """Every rival at a 10 % share (or the ramp): how often it sends back, and after how many units."""
    found: dict[str, list[Floats]] = {}
    for chunk in range(-(-runs // _CHUNK)):
        rng = np.random.default_rng([31, chunk])
        share, mean = np.full(units, 0.1), np.full(units, 0.6)
        if name == "ramp and drift":
            share, mean = np.repeat([0.05, 0.25, 0.5], -(-units // 3))[:units], np.linspace(0.7, 0.5, units)
        canary = (rng.random((_CHUNK, units)) < share).astype(np.float64)
        reward = (rng.random((_CHUNK, units)) < mean + effect * canary).astype(np.float64)
        rules = pooled(canary, reward)
        if name != "ramp and drift":  # their floor would have to drift along
            rules |= thresholds(canary, reward)
        for rule, times in rules.items():
            found.setdefault(rule, []).append(times)
    lines: list[Line] = []
    for rule, parts in found.items():
        times = np.concatenate(parts)
        if effect == 0.0:
            lines.append(rate(f"A/A {rule}, {name}: sent back", int(np.isfinite(times).sum()), len(times)))
        else:
            lines.append(median(f"{rule}: rollback at {100 * effect:+.0f} pp, 10% share", times))
    return lines
