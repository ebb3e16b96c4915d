"""The confidence sequences beside a verdict: how much better or worse the candidate may be. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.unit_events import Path, UnitEvent
from monitors.confidence import interval


def intervals(events: Sequence[UnitEvent], alpha: float) -> dict[str, float]:
    """Bounds of the mean reward, candidate minus control, valid at every unit at once; empty without rewards.

    ``gain`` is of matured units, ``gain_in_slice`` of those in the slice, ``gain_at_once`` of first rewards as they
    arrived (what a rollback goes by). About 3 us an event and interval.
    """
    parts = {
        "gain": [e for e in events if e.path is Path.PROMOTE],
        "gain_in_slice": [e for e in events if e.path is Path.PROMOTE and e.in_slice],
        "gain_at_once": [e for e in events if e.path is Path.HARM],
    }
    found: dict[str, float] = {}
    for name, part in parts.items():
        if part:
            low, high = interval([(e.canary, e.propensity, e.value) for e in part], alpha)
            found |= {f"{name}_low": low, f"{name}_high": high}
    return found
