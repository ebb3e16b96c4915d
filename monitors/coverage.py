"""How much of the usual traffic a watch knows by now: what has not seen a whole day takes an evening for drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitors.season import DAY_S

Phase = Literal["warming", "watching", "suspected", "alarmed"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where a watch is, and what it compares with."""

    phase: Phase
    """Of the input detectors; while ``warming`` no prompt is watched."""
    prompts: int
    """Of the reference; while warming those that came."""
    prompts_wanted: int
    covers_s: float
    """Seconds that the reference covers; while warming as far as it goes."""
    wanted_s: float
    rewards: int
    """That the usual level of rewards is learned from."""
    rewards_wanted: int
    rewards_watched: bool
    """Whether that level is known: before it neither rewards nor corrections are watched."""

    @property
    def short(self) -> bool:
        """Whether prompts are compared with less than a day."""
        return self.phase != "warming" and less_than_a_day(self.covers_s)


def less_than_a_day(covers_s: float) -> bool:
    """Whether a reference of so many seconds has not seen every hour."""
    return covers_s < DAY_S
