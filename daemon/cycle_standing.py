"""What the policy of cycles looks at, from the rows: the tick that starts cycles and ``homeostat why`` ask here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from daemon.cycle import OpenAlarm, Standing, rollback_of_cause
from daemon.store import Read, alarms, cycles, rollouts, states
from daemon.store import ledger as entries
from deploy.rollout import Phase
from monitors.alarms import AlarmKind

LOOKED_BACK: Final = 50
"""Cycles and rollouts that are looked back on: rollbacks in a row freeze long before."""
MOST_SAID: Final = 10_000
"""Ledger entries about the deployment itself, the pauses and resumes of years, where the last resume is sought."""
PAUSED: Final = "paused"
"""State that a person's pause (1) and resume (0) leave."""
MANUAL: Final = "manual"
"""Cause of a cycle that a person asked for."""


def cycle_standing(
    read: Read,
    deployment: str,
    waiting: Sequence[alarms.AlarmRow],
    *,
    paused: bool,
    rollout_active: bool,
    may_train: bool,
) -> Standing:
    """The standing of a deployment whose ``waiting`` alarms nobody has answered."""
    past = cycles.newest(read, deployment, LOOKED_BACK)
    ended = {r.id: r for r in rollouts.newest(read, deployment, LOOKED_BACK)}
    return Standing(
        alarms=tuple(OpenAlarm(a.alarm_id, AlarmKind(a.kind), a.at, cause_of(a)) for a in waiting),
        cycle_open=cycles.active(read, deployment) is not None,
        rollout_active=rollout_active,
        paused=paused,
        may_train=may_train,
        last_end=max((c.changed_at for c in past if not c.active), default=None),
        rollbacks_same_cause=_rollbacks(read, deployment, past, ended),
        last_promoted=max((c.changed_at for c in past if _promoted(c, ended)), default=None),
    )


def standing_now(read: Read, deployment: str, mode: str) -> Standing:
    """The standing at the next tick, for whoever only looks."""
    return cycle_standing(
        read,
        deployment,
        alarms.unanswered(read, deployment),
        paused=states.get(read, PAUSED) == b"1",
        rollout_active=rollouts.active(read, deployment) is not None,
        may_train=mode != "observe",
    )


def cause_of(alarm: alarms.AlarmRow) -> str:
    """Which kind of drift it is about, without reading the alarm's slice, which is large."""
    return str(alarm.body.get("evidence", {}).get("cause", "unknown"))


def _rollbacks(read: Read, deployment: str, past: Sequence[cycles.Cycle], ended: Mapping[str, rollouts.Rollout]) -> int:
    """Rollbacks in a row, newest first, until another end of a rollout or a person's resume."""
    found: list[cycles.Cycle] = []
    for one in past:
        end = ended.get(str(one.data.get("rollout", "")))
        if end is None or one.active:
            continue
        if not rollback_of_cause(Phase(end.phase)):
            break
        if one.cause != MANUAL:
            found.append(one)
    if not found:
        return 0
    resumed = _resumed_at(read, deployment)
    return sum(one.changed_at > resumed for one in found)


def _resumed_at(read: Read, deployment: str) -> float:
    """When a person last said to go on."""
    said = entries.about(read, deployment, MOST_SAID)
    return max((e.at for e in said if e.kind == "resume"), default=-math.inf)


def _promoted(past: cycles.Cycle, ended: Mapping[str, rollouts.Rollout]) -> bool:
    end = ended.get(str(past.data.get("rollout", "")))
    return end is not None and end.phase == Phase.PROMOTED.value
