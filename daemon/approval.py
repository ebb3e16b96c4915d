"""A person's approval of a denied version: it may be routed again (R4 asks for nothing less).

It serves nobody by that. A version that was promoted before what serves now is one to go back to again; any other is
as it was after its gate, for a later rollout. What its rollback suspended stays so, unless the person says otherwise.
"""

from __future__ import annotations

from typing import Final

from daemon import ledger
from daemon.api.ports import By, Json
from daemon.faults import Refused
from daemon.store import Tx, denials, rollouts, suspended, versions
from daemon.store.versions import Status, Version
from daemon.version_rows import adapter_of

MOST: Final = 1000
"""Newest rollouts that are looked through for the ones that suspended examples."""


def lift(tx: Tx, deployment: str, by: By, version: str, serving: str | None, examples: bool, now: float) -> Json:
    """Lift the denial; the answer, JSON-able. ``examples``: also let later versions learn from what was suspended.

    Raises Refused: ``reason_needed``, ``unknown_version``, ``denied_version`` (what it stands on), ``not_denied``.
    """
    if not by.reason.strip():
        raise Refused("reason_needed", f"say why {version} may be routed again: --reason goes into the ledger")
    row = versions.get(tx, version)
    if row is None or row.deployment != deployment:
        raise Refused("unknown_version", f"{version} is no version of {deployment}: `homeostat versions` lists them")
    below = adapter_of(tx, version)
    if below != version and denials.is_denied(tx, below):
        raise Refused("denied_version", f"{version} stands on {below}, which is denied: approve that first")
    was = denials.of_deployment(tx, deployment).get(version)
    if was is None:
        raise Refused("not_denied", f"{version} is not denied: nothing to approve")
    status = standing_of(row, None if serving is None else versions.get(tx, serving))
    denials.lift(tx, version, reason=by.reason[: ledger.LONGEST], at=now)
    versions.set_status(tx, version, status)
    owners = [version, *(r.id for r in rollouts.newest(tx, deployment, MOST) if r.candidate == version)]
    held = suspended.counts(tx)
    left = sum(held.get(owner, 0) for owner in owners)
    lifted = sum(suspended.lift(tx, owner, reason="approved", at=now) for owner in owners) if examples else 0
    data = {"was": was.reason, "status": status, "examples_lifted": lifted}
    ledger.append(
        tx, deployment, "approval", version, "denial_lifted", actor=by.actor, at=now, data=data, note=by.reason
    )
    return {"version": version, "was": was.reason, "status": status, "suspended": left - lifted}


def standing_of(row: Version, serving: Version | None) -> Status:
    """What a version is without its denial: one to go back to only where it was promoted before what serves. Pure."""
    served_from = None if serving is None else serving.promoted_at
    if served_from is not None and row.promoted_at is not None and row.promoted_at < served_from:
        return "promoted"
    return "gated" if row.gate is not None and row.gate.get("verdict") == "pass" else "registered"
