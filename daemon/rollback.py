"""Rows of a rollback that a person or the drift policy asked for, after its route was written.

``daemon.adoption`` writes the like for a route that it finds on the host.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon import ledger
from daemon.api.ports import By
from daemon.denial import deny, suspend
from daemon.live_evidence import MOST_UNITS, intervals_of
from daemon.store import Tx, fences, rollouts
from deploy.rollout import Phase, Signal, move


def record(
    tx: Tx,
    deployment: str,
    by: By,
    gone: Sequence[str],
    target: str | None,
    suspend_data: bool,
    epoch: int,
    now: float,
) -> None:
    """End the rollout that the route left and deny what is ``gone``: the version left, then what was passed over."""
    fences.adopt(tx, deployment, epoch, holder=by.actor, at=now)
    row, left = rollouts.active(tx, deployment), gone[0]
    if row is not None and (row.candidate in gone or row.control in gone):
        # a rollout whose control was left ends too: it would route its control again
        _end(tx, deployment, row, by, now)
    for version in gone:
        deny(tx, deployment, version, "rolled_back:by_person", by.actor, now)
        data = {"from": version, "to": target, "epoch": epoch}
        ledger.append(
            tx, deployment, "rollback", version, "rollback_by_person", actor=by.actor, at=now, data=data, note=by.reason
        )
    if suspend_data:
        suspend(tx, deployment, row.id if row is not None else left, left, by.actor, now)


def _end(tx: Tx, deployment: str, row: rollouts.Rollout, by: By, now: float) -> None:
    phase = move(Phase(row.phase), Signal.ROLLBACK).value
    entry = {
        "from_phase": row.phase,
        "to_phase": phase,
        "signal": Signal.ROLLBACK.value,
        "candidate": row.candidate,
        "control": row.control,
        **intervals_of(tx, row, MOST_UNITS),
    }
    rollouts.update_phase(tx, row.id, phase=phase, reason="rollback_by_person", at=now, data=row.data, ended=True)
    ledger.append(tx, deployment, "rollout", row.id, "rollback_by_person", actor=by.actor, at=now, data=entry)
