"""The freeze after rollbacks for one cause: how many there were in a row, and that a person lifts it.

``CycleConfig.freeze_after`` of them let no cycle start. Whoever resumes the deployment with a reason begins the count
anew: what lies before the newest cycle of that instant counts no more, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
NOBODY: Final[Mapping[str, float]] = MappingProxyType({})
LOOK_BACK: Final = 50
"""Cycles, and rollouts, that are looked back on."""


def in_a_row(
    past: Sequence[Cycle], ended: Mapping[str, Rollout], thawed: str | None, left: Mapping[str, float] = NOBODY
) -> int:
    """Rollbacks since the last success, or since a freeze was lifted. ``past`` is newest first; ``left``: promoted
    versions that were rolled back since, and when. What one rollback left counts once. Pure.
    """
    failed, instants = 0, set[float | None]()
    for one in past:
        if one.id == thawed:
            break
        end = ended.get(str(one.data.get("rollout", "")))
        if end is None or end.phase == Phase.KEPT.value:  # a second probation that found nothing
            continue
        phase = Phase(end.phase)
        if not (rollback_of_cause(phase) or (phase is Phase.PROMOTED and end.candidate in left)):
            break
        at = left[end.candidate] if phase is Phase.PROMOTED else end.ended_at
        failed += one.cause != MANUAL and not (phase is Phase.PROMOTED and at in instants)
        instants.add(at)
    return failed


def rollbacks(read: Read, deployment: str) -> int:
    """Rollbacks in a row now."""
    past = cycles.newest(read, deployment, LOOK_BACK)
    ended = {r.id: r for r in rollouts.newest(read, deployment, LOOK_BACK)}
    return in_a_row(past, ended, thawed_after(read), left_since(read, deployment, ended))


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
