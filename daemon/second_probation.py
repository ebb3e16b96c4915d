"""When the champion is suspected: whether it may be compared with the version before it, and what is answered by that.

The comparison itself is a rollout as any other, which ``daemon.rollout_start`` opens in its last phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from daemon.freeze import LOOK_BACK
from daemon.store import Read, Tx, alarms, rollouts, versions
from deploy.rollout import Phase
from monitors.alarms import AlarmKind

OVER: Final = "second_probation_over"
NOTHING: Final = "nothing_to_compare"
"""Names under which a second probation is passed over."""
_OF_REWARDS: Final = (AlarmKind.REWARD.value, AlarmKind.FEEDBACK.value)


def suspect(read: Read, deployment: str) -> rollouts.Rollout | None:
    """The rollout that promoted the champion; None where what was promoted last does not serve any more."""
    promoted = [r for r in rollouts.newest(read, deployment, LOOK_BACK) if r.phase == Phase.PROMOTED.value]
    newest = max(promoted, key=lambda r: r.ended_at or 0.0, default=None)
    champion = next(iter(versions.promoted_stack(read, deployment)), None)
    return newest if newest is not None and champion is not None and champion.version == newest.candidate else None


def why_not(
    read: Read, deployment: str, promotion: rollouts.Rollout | None, ended: Mapping[str, rollouts.Rollout]
) -> str:
    """Why the newest ``promotion`` is not compared with what was before it; empty: it may be. ``ended``: the newest
    rollouts; each promotion has one second probation, whatever came of it.
    """
    found = suspect(read, deployment) if promotion is not None else None
    if found is None or promotion is None or found.id != promotion.id:
        return NOTHING
    return OVER if any(r.data.get("promotion") == found.id for r in ended.values()) else ""


def answer(tx: Tx, deployment: str, cycle: str, end: Phase) -> None:
    """What users said of a version that went back is answered by that; where it stays, its alarm goes on."""
    if end is not Phase.ROLLED_BACK:
        return
    for one in alarms.unanswered(tx, deployment):
        if one.kind in _OF_REWARDS:
            alarms.answer(tx, one.alarm_id, cycle)
