"""What the policy of cycles looks at, from the rows: the tick that starts cycles and ``homeostat why`` ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from daemon import freeze, label_requests, second_probation
from daemon.config import Config
from daemon.cycle import OpenAlarm, Standing
from daemon.drift_policy import DEMONSTRATIONS_OFF, DEMONSTRATIONS_STOPPED, Action, demonstrated
from daemon.store import Read, alarms, cycles, rollouts, states
from deploy.rollout import Phase
from monitors.alarms import AlarmKind

PAUSED: Final = "paused"
"""State that a person's pause (1) and resume (0) leave."""


def cycle_standing(
    read: Read,
    deployment: str,
    waiting: Sequence[alarms.AlarmRow],
    config: Config,
    *,
    paused: bool,
    rollout_active: bool,
) -> Standing:
    """The standing of a deployment whose ``waiting`` alarms nobody has answered."""
    past = cycles.newest(read, deployment, freeze.LOOK_BACK)
    ended = {r.id: r for r in rollouts.newest(read, deployment, freeze.LOOK_BACK)}
    promoted = [(c, r) for c in past if (r := _promoted(c, ended)) is not None]
    left = freeze.left_since(read, deployment, ended)
    stay = [(c, r) for c, r in promoted if r.candidate not in left]
    newest = max(stay, key=lambda pair: pair[0].changed_at, default=None)
    return Standing(
        alarms=tuple(OpenAlarm(a.alarm_id, AlarmKind(a.kind), a.at, cause_of(a)) for a in waiting),
        cycle_open=cycles.active(read, deployment) is not None,
        rollout_active=rollout_active,
        paused=paused,
        may_train=config.mode != "observe",
        last_end=max(
            (*(c.changed_at for c in past if not (c.active or _goes_on(c, ended))), *left.values()), default=None
        ),
        rollbacks_same_cause=freeze.in_a_row(past, ended, freeze.thawed_after(read), left),
        last_promoted=None if newest is None else newest[0].changed_at,
        asked=label_requests.by_alarm(label_requests.load(read)),
        no_second_probation=second_probation.why_not(read, deployment, None if newest is None else newest[1], ended),
        demonstrated=_demonstrated(past, ended) if config.cycle.demonstrations.enabled else DEMONSTRATIONS_OFF,
    )


def standing_now(read: Read, config: Config) -> Standing:
    """The standing at the next tick, for whoever only looks."""
    deployment = config.deployment.name
    return cycle_standing(
        read,
        deployment,
        alarms.unanswered(read, deployment),
        config,
        paused=states.get(read, PAUSED) == b"1",
        rollout_active=rollouts.active(read, deployment) is not None,
    )


def cause_of(alarm: alarms.AlarmRow) -> str:
    """Which kind of drift it is about, without reading the alarm's slice, which is large."""
    return str(alarm.body.get("evidence", {}).get("cause", "unknown"))


def demonstrates(cycle: cycles.Cycle) -> bool:
    """Whether a cycle tries examples in the prompt instead of training."""
    return cycle.data.get("action") == Action.DEMONSTRATE.value


def _demonstrated(past: Sequence[cycles.Cycle], ended: Mapping[str, rollouts.Rollout]) -> str:
    """Why demonstrations are not to be tried: the newest cycle that no person asked for tried them, in vain. Once
    another one ended, a new alarm is a new cause; a second probation after which the version stayed answered none.
    """
    newest = next((c for c in past if c.cause != freeze.MANUAL and not _kept(c, ended)), None)
    if newest is None or newest.active or not demonstrates(newest) or _promoted(newest, ended) is not None:
        return ""
    return demonstrated(newest.reason) or DEMONSTRATIONS_STOPPED


def _goes_on(cycle: cycles.Cycle, ended: Mapping[str, rollouts.Rollout]) -> bool:
    """Whether its alarm goes on to its next action at once: pairs that met no user need no rest, nor does a second
    probation after which the version stayed.
    """
    untried = demonstrates(cycle) and "rollout" not in cycle.data and demonstrated(cycle.reason) is not None
    return untried or _kept(cycle, ended)


def _promoted(past: cycles.Cycle, ended: Mapping[str, rollouts.Rollout]) -> rollouts.Rollout | None:
    end = ended.get(str(past.data.get("rollout", "")))
    return end if end is not None and end.phase == Phase.PROMOTED.value else None


def _kept(past: cycles.Cycle, ended: Mapping[str, rollouts.Rollout]) -> bool:
    """Whether it was a second probation after which the version stayed: what raised it waits for its next action."""
    end = ended.get(str(past.data.get("rollout", "")))
    return end is not None and end.phase == Phase.KEPT.value
