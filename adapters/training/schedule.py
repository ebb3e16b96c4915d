"""The step size over a training."""

from __future__ import annotations

import math
from typing import Final

TAIL_FACTOR: Final = 0.3
"""Step size of the tail, as a share of the peak: small enough to settle, large enough to go on learning."""


def cosine(step: int, steps: int, warmup: float) -> float:
    """Factor in [0, 1] for step `step` (from 0) of `steps`: a linear rise over the share `warmup`, then half a
    cosine.
    """
    rising = max(1, int(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def flat(step: int, steps: int, warmup: float, tail: float) -> float:
    """Factor in (0, 1] for step `step` (from 0) of `steps`: a linear rise over the share `warmup`, then 1, and
    `TAIL_FACTOR` over the last share `tail`.

    Made for averaged weights: the average, and not a vanishing step size, takes the noise of the last steps out.
    """
    rising = max(1, int(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return TAIL_FACTOR if step >= steps - int(tail * steps) else 1.0
