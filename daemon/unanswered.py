"""The cause of a promoted version that was rolled back: nobody answers it any more, and no monitor will tell it again.

With the promotion the drift became the reference of the monitors. When the version is left, drift and reference stay,
so its alarm is open once more, and the policy takes it up by its table. An alarm is opened again once for each cycle
that answered it: what comes of that is the next cycle's.
"""

from __future__ import annotations

from typing import Final

from daemon import ledger
from daemon.freeze import LOOK_BACK
from daemon.store import Tx, alarms, cycles, rollouts
from deploy.rollout import Phase

REASON: Final = "unanswered_again"
"""Reason in the ledger."""


def reopen(tx: Tx, deployment: str, version: str, actor: str, now: float) -> None:
    """Open the alarm that a promoted version was trained for, in the transaction that denies the version. Nothing
    happens where it never was promoted, or another cycle has taken the alarm up since.
    """
    newest = rollouts.newest(tx, deployment, LOOK_BACK)
    promotion = next((r for r in newest if r.candidate == version and r.phase == Phase.PROMOTED.value), None)
    cycle = None if promotion is None else cycles.get(tx, str(promotion.data.get("cycle", "")))
    alarm = None if cycle is None else alarms.get(tx, cycle.cause)
    if cycle is None or alarm is None or alarm.answer != cycle.id:
        return
    alarms.answer(tx, alarm.alarm_id, None)
    data = {"version": version, "cycle": cycle.id}
    ledger.append(tx, deployment, "alarm", alarm.alarm_id, REASON, actor=actor, at=now, data=data)
