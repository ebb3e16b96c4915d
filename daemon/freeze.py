"""The freeze after rollbacks for one cause: how many there were in a row, and that a person lifts it.

``CycleConfig.freeze_after`` of them let no cycle start. Whoever resumes the deployment with a reason begins the count
anew: what lies before the newest cycle of that instant counts no more, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from daemon.cycle import rollback_of_cause
from daemon.store import Read, Tx, cycles, rollouts, states
from daemon.store.cycles import Cycle
from daemon.store.rollouts import Rollout
from deploy.rollout import Phase

STATE: Final = "thawed_after"
"""The newest cycle when a person last lifted a freeze."""
MANUAL: Final = "manual"
"""Cause of a cycle that a person asked for: its rollback counts against nobody's alarm."""
LOOK_BACK: Final = 50
"""Cycles, and rollouts, that are looked back on."""


def in_a_row(past: Sequence[Cycle], ended: Mapping[str, Rollout], thawed: str | None) -> int:
    """Rollbacks since the last success, or since a freeze was lifted. ``past`` is newest first. Pure."""
    failed = 0
    for one in past:
        if one.id == thawed:
            break
        end = ended.get(str(one.data.get("rollout", "")))
        if end is None or end.phase == Phase.KEPT.value:  # a second probation that found nothing
            continue
        if not rollback_of_cause(Phase(end.phase)):
            break
        failed += one.cause != MANUAL
    return failed


def rollbacks(read: Read, deployment: str) -> int:
    """Rollbacks in a row now."""
    past = cycles.newest(read, deployment, LOOK_BACK)
    ended = {r.id: r for r in rollouts.newest(read, deployment, LOOK_BACK)}
    return in_a_row(past, ended, thawed_after(read))


def thawed_after(read: Read) -> str | None:
    """The newest cycle when a person last lifted a freeze; None: nobody did."""
    stored = states.get(read, STATE)
    return None if stored is None else stored.decode()


def lift(tx: Tx, deployment: str, now: float) -> None:
    """Count from here on."""
    newest = next(iter(cycles.newest(tx, deployment, 1)), None)
    if newest is not None:
        states.put(tx, STATE, newest.id.encode(), now)
