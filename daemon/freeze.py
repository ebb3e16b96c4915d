"""The freeze after rollbacks for one cause: how many there were in a row, and that a person lifts it.

``CycleConfig.freeze_after`` of them let no cycle start. Whoever resumes the deployment with a reason begins the count
anew: what lies before the newest cycle of that instant counts no more, whatever the clocks say. What people are told
of a freeze is ``daemon.freeze_record``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from daemon.cycle import rollback_of_cause
from daemon.store import Read, Tx, cycles, denials, rollouts, states
from daemon.store.cycles import Cycle
from daemon.store.rollouts import Rollout
from deploy.rollout import Phase

STATE: Final = "thawed_after"
"""The newest cycle when a person last lifted a freeze."""
MANUAL: Final = "manual"
"""Cause of a cycle that a person asked for: its rollback counts against nobody's alarm."""
LEFT: Final = "left_after_promotion"
"""Why a promoted version counts that was rolled back since."""
NOBODY: Final[Mapping[str, float]] = MappingProxyType({})
LOOK_BACK: Final = 50
"""Cycles, and rollouts, that are looked back on."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """One rollback that counts."""

    rollout: str
    at: float
    reason: str


def row(
    past: Sequence[Cycle], ended: Mapping[str, Rollout], thawed: str | None, left: Mapping[str, float] = NOBODY
) -> tuple[RolledBack, ...]:
    """Rollbacks since the last success, or since a freeze was lifted. ``past`` and the answer are newest first;
    ``left``: promoted versions that were rolled back since, and when. What one rollback left counts once. Pure.
    """
    found, instants = list[RolledBack](), set[float | None]()
    for one in past:
        if one.id == thawed:
            break
        end = ended.get(str(one.data.get("rollout", "")))
        if end is None or end.phase == Phase.KEPT.value:  # a second probation that found nothing
            continue
        phase = Phase(end.phase)
        promoted = phase is Phase.PROMOTED
        if not (rollback_of_cause(phase) or (promoted and end.candidate in left)):
            break
        at = left[end.candidate] if promoted else end.ended_at
        if one.cause != MANUAL and not (promoted and at in instants):
            reason = LEFT if promoted else end.reason
            found.append(RolledBack(end.id, end.changed_at if at is None else at, reason))
        instants.add(at)
    return tuple(found)


def in_a_row(
    past: Sequence[Cycle], ended: Mapping[str, Rollout], thawed: str | None, left: Mapping[str, float] = NOBODY
) -> int:
    """How many ``row`` has."""
    return len(row(past, ended, thawed, left))


def rolled_back(read: Read, deployment: str) -> tuple[RolledBack, ...]:
    """Rollbacks in a row now, newest first."""
    past = cycles.newest(read, deployment, LOOK_BACK)
    ended = {r.id: r for r in rollouts.newest(read, deployment, LOOK_BACK)}
    return row(past, ended, thawed_after(read), left_since(read, deployment, ended))


def rollbacks(read: Read, deployment: str) -> int:
    """How many there are in a row now."""
    return len(rolled_back(read, deployment))


def left_since(read: Read, deployment: str, ended: Mapping[str, Rollout]) -> Mapping[str, float]:
    """Candidates of these rollouts that were promoted and are denied now, and since when."""
    promoted = {r.candidate for r in ended.values() if r.phase == Phase.PROMOTED.value}
    if not promoted:
        return NOBODY
    return {d.version: d.at for d in denials.of_deployment(read, deployment).values() if d.version in promoted}


def thawed_after(read: Read) -> str | None:
    """The newest cycle when a person last lifted a freeze; None: nobody did."""
    stored = states.get(read, STATE)
    return None if stored is None else stored.decode()


def lift(tx: Tx, deployment: str, now: float) -> None:
    """Count from here on."""
    newest = next(iter(cycles.newest(tx, deployment, 1)), None)
    if newest is not None:
        states.put(tx, STATE, newest.id.encode(), now)
