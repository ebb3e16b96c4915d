"""Which version answers, and in which arm: a sticky hash, salted with the rollout.

Pure. The hash of (rollout, session) is uniform on [0, 1); the sessions below the share are the canary's, so that
raising the share only ever moves sessions from control to canary and never back. A holdback has a salt and a draw of
its own, before the rollout's: the two are independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from deploy.routes import Route
from streams.events import Arm


class Reason(StrEnum):
    """Why a request goes where it goes."""

    NO_ROUTE = "no_route"
    NO_SPLIT = "no_split"
    LEASE_EXPIRED = "lease_expired"
    SPLIT = "split"
    HOLDBACK = "holdback"


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one request goes. ``version`` None: the base, with the client's own bytes."""

    version: str | None
    reason: Reason
    arm: Arm | None = None
    propensity: float | None = None
    rollout: str | None = None


def position(rollout: str, session: str) -> float:
    """Where a session lies on [0, 1) in a rollout: keyed BLAKE2b (RFC 7693), 53 bits of it."""
    digest = blake2b(session.encode("utf-8", "replace"), key=rollout.encode()[:64], digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def choose(route: Route | None, lease_live: bool, session: str, proved: frozenset[str] = frozenset()) -> Choice:
    """Where a session's next request goes. ``proved``: versions whose effect was proved on this replica.

    Where an anchor or a candidate is not proved, its sessions are answered by the control, and their arm stays what was
    drawn (intention to treat): a restarted replica has it back in a moment, and one that the agent cannot reach may
    hold a version whose proof never came.

    While the lease is dead the request is marked as control with propensity 0: its session met the rollout without a
    chance of the canary, and so is no unit of it.
    """
    if route is None:
        return Choice(None, Reason.NO_ROUTE)
    held = route.holdback
    if held is not None and position(held.id, session) < held.share:
        version = held.anchor if held.anchor in proved else route.control
        return Choice(version, Reason.HOLDBACK, "holdback", held.share, held.id)
    split = route.split
    if split is None:
        return Choice(route.control, Reason.NO_SPLIT)
    if not lease_live:
        return Choice(route.control, Reason.LEASE_EXPIRED, "control", 0.0, split.rollout)
    if position(split.rollout, session) < split.share:
        version = split.candidate if split.candidate in proved else route.control
        return Choice(version, Reason.SPLIT, "canary", split.share, split.rollout)
    return Choice(route.control, Reason.SPLIT, "control", split.share, split.rollout)
