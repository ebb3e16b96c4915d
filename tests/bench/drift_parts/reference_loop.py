"""A fixed piece of work to compare a cost with, so that a busy machine does not pass for slow code."""

from __future__ import annotations

import time
from typing import Final

_STEPS: Final = 20_000


def step_ns() -> float:
    """CPU nanoseconds of one step now: a multiplication, a mask and a write into a dictionary of 65,536 places."""
    held: dict[int, int] = {}
    at, begun = 0, time.thread_time_ns()
    for step in range(_STEPS):
        at = (at * 31 + step) & 0xFFFF
        held[at] = step
    return (time.thread_time_ns() - begun) / _STEPS
