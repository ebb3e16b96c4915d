"""Which stage a run is in, told by the daemon's status alone."""

from __future__ import annotations

from daemon.demo.daemon_client import Seen
from daemon.demo.documents import Json, part

FINAL = frozenset({"promoted", "rolled_back", "inconclusive", "denied", "aborted", "kept"})
"""Phases in which a rollout is over."""
CYCLE_OVER = frozenset({"done", "stopped"})
"""Phases in which a cycle is over."""
LIVE = frozenset({"canary_small", "canary_half", "awaiting_promotion", "probation", "second_probation"})
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
    "awaiting_second_probation": "probation",
    "second_probation": "probation",
}
OF_CYCLE = {"collecting": "collect", "training": "training", "gating": "gate", "rolling": "soak"}


def stage_of(status: Json) -> str | None:
    """The stage's name, or None when no adaptation is under way."""
    rollout, cycle = part(status, "rollout"), part(status, "cycle")
    if rollout and rollout["phase"] not in FINAL:
        return OF_ROLLOUT.get(rollout["phase"], str(rollout["phase"]))
    return OF_CYCLE.get(str(cycle.get("phase")))


def live_rollout(seen: Seen) -> Json | None:
    """The rollout whose candidate answers users now, or None."""
    rollout = part(seen.status, "rollout")
    return rollout if rollout.get("phase") in LIVE else None


def acting_alarms(seen: Seen) -> list[Json]:
    """Confirmed alarms of primary detectors, oldest first: the ones that may start something."""
    found = [a for a in seen.alarms.values() if a.get("confirmed") and a.get("primary")]
    return sorted(found, key=lambda a: float(a["at"]))
