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
    matured = [e for e in events if e.path is Path.PROMOTE]
    inside = [e for e in matured if e.in_slice]
    bounds = {
        "gain": _interval(matured, alpha),
        "gain_at_once": _interval([e for e in events if e.path is Path.HARM], alpha),
    }
    # without a slice every unit is inside
    bounds["gain_in_slice"] = bounds["gain"] if len(inside) == len(matured) else _interval(inside, alpha)
    found: dict[str, float] = {}
    for name, bound in bounds.items():
        if bound is not None:
            found |= {f"{name}_low": bound[0], f"{name}_high": bound[1]}
    return found


def _interval(events: Sequence[UnitEvent], alpha: float) -> tuple[float, float] | None:
    return interval([(e.canary, e.propensity, e.value) for e in events], alpha) if events else None
