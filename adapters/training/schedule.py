"""The step size over a training."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, warmup: float) -> float:
    """Factor in [0, 1] for step `step` (from 0) of `steps`: a linear rise over the share `warmup`, then half a
    cosine.
    """
    rising = max(1, int(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
