"""Both arms together against the time before the canary: the kill switch for harm that a comparison of arms cannot see.

A candidate that slows or breaks the engine hurts control as much as itself, and every test of arm against arm stays
quiet. This rule stands outside alpha: it is coarse on purpose, so that only gross trouble sets it off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from deploy.rollout_config import RolloutConfig

FLEET_REASONS: Final = ("fleet_errors", "fleet_slow", "fleet_corrupted")
LEAST_BEFORE: Final = 200
"""Requests before the canary without which nothing is compared."""
_SLOWER: Final = 2.0
"""Times the share of slow replies before that is allowed where that is more than ``fleet_slow_share``."""
_TINY: Final = 0.05
"""Share of errors, or of corrupted replies, that is forgiven on top: ten in a window of 200 may be one client's."""


@dataclass(frozen=True, slots=True)
class Before:
    """The fleet before the canary, frozen when the rollout starts."""

    requests: int
    errors: int
    slow: int = 0
    """Slow ones by the bounds that hold for the rollout: an operator's own may have been missed all along."""
    corrupt: int | None = None
    """Corrupted replies (``deploy.corruption``). None: stored by a release that did not count them, so that nothing is
    compared."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> Before | None:
        """Inverse of ``to_dict``; None where nothing was stored."""
        return None if stored is None else cls(**{name: int(n) for name, n in stored.items() if n is not None})


@dataclass(frozen=True, slots=True)
class Newest:
    """One exchange of the window."""

    session: str
    failed: bool
    slow: bool
    corrupt: bool = False


def fleet_trouble(before: Before | None, window: tuple[Newest, ...], config: RolloutConfig) -> str:
    """A reason of ``FLEET_REASONS``, or the empty string. A window that is not full yet says nothing.

    Each reason needs at least ``kill_sessions`` sessions: one broken client is not the fleet.
    """
    if before is None or before.requests < LEAST_BEFORE or len(window) < config.fleet_window:
        return ""
    allowed = config.fleet_errors_factor * before.errors / before.requests + _TINY
    failed = [x.session for x in window if x.failed]
    if len(failed) > allowed * len(window) and len(set(failed)) >= config.kill_sessions:
        return "fleet_errors"
    slow = [x.session for x in window if x.slow]
    usual = max(config.fleet_slow_share, _SLOWER * before.slow / before.requests)
    if len(slow) > usual * len(window) and len(set(slow)) >= config.kill_sessions:
        return "fleet_slow"
    corrupt = [x.session for x in window if x.corrupt]
    if before.corrupt is None or len(set(corrupt)) < config.kill_sessions:
        return ""
    allowed = config.fleet_errors_factor * before.corrupt / before.requests + _TINY
    return "fleet_corrupted" if len(corrupt) > allowed * len(window) else ""
