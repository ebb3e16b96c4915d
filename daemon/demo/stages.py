"""Which stage a run is in, told by the daemon's status alone."""

from __future__ import annotations

from daemon.demo.daemon_client import Json, Seen

FINAL = frozenset({"promoted", "rolled_back", "inconclusive", "denied", "aborted"})
"""Phases in which a rollout is over."""
LIVE = frozenset({"canary_small", "canary_half", "awaiting_promotion", "probation"})
"""Phases in which a candidate answers users."""

OF_ROLLOUT = {
    "starting": "soak",
    "soaking": "soak",
    "proving": "prove",
    "awaiting_canary": "canary_10",
    "canary_small": "canary_10",
    "canary_half": "canary_50",
    "awaiting_promotion": "canary_50",
    "probation": "probation",
}
OF_CYCLE = {"collecting": "collect", "training": "training", "gating": "gate", "rolling": "soak"}


def stage_of(status: Json) -> str | None:
    """The stage's name, or None when no adaptation is under way."""
    rollout, cycle = status.get("rollout"), status.get("cycle")
    if rollout and rollout["phase"] not in FINAL:
        return OF_ROLLOUT.get(rollout["phase"], rollout["phase"])
    if cycle and cycle["phase"] in OF_CYCLE:
        return OF_CYCLE[cycle["phase"]]
    return None


def live_rollout(seen: Seen) -> Json | None:
    """The rollout whose candidate answers users now, or None."""
    rollout = seen.status.get("rollout")
    return rollout if rollout and rollout["phase"] in LIVE else None


def acting_alarms(seen: Seen) -> list[Json]:
    """Confirmed alarms of primary detectors, oldest first: the ones that may start something."""
    found = [a for a in seen.alarms.values() if a.get("confirmed") and a.get("primary")]
    return sorted(found, key=lambda a: float(a["at"]))
