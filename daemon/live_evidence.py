"""The evidence of the running rollout, shared by the ingest thread (which feeds it) and the controller (which judges
it).

Fed only inside the ingest's transaction; what the controller reads are immutable values, so it takes no lock. After a
restart, or after a transaction that failed, it is rebuilt from its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from daemon.store import exchanges, rollouts, units
from daemon.store.batches import batches
from daemon.store.open import Read, Tx
from daemon.stored_rewards import stored_rewards
from deploy.evidence import Evidence, Tick, Unit
from deploy.fleet import Before
from deploy.guards import Bounds
from deploy.intervals import intervals
from deploy.rollout import LIVE, Phase, RolloutConfig
from deploy.unit_events import Path, UnitEvent
from monitors.alarms import SliceModel
from monitors.reward import exchange_reward
from streams.events import FeedbackKind, Trust
from streams.findings import Joined

log = structlog.get_logger(room="daemon.live_evidence")
InSlice = Callable[[str], bool]
KILL_MEMORY: Final = 20
"""Exchanges of both arms that are looked back on for each server error that the kill switch needs: enough for a share
of one twentieth.
"""
MOST_UNITS: Final = 10_000
"""Units up to which a way back is recorded with intervals: about a third of a second, in which nobody else writes."""


def membership(slice_json: object) -> InSlice:
    """The frozen slice of a rollout as a function of the prompt; without a slice everything is inside."""
    inside = SliceModel.stored(slice_json)
    return (lambda _text: True) if inside is None else inside.contains


def rated(joined: Joined) -> tuple[float, float] | None:
    """(reward, when its earliest feedback was sent) of an exchange; None where no trusted feedback says anything."""
    trusted = [f for f in joined.feedbacks if f.trust is not Trust.BARE]
    value = exchange_reward(trusted, joined.exchange.completion).value
    return None if value is None else (value, min(f.sent_at for f in trusted))


def corrected(joined: Joined) -> bool:
    """Whether trusted feedback names another right answer than the one that was served."""
    trusted = [f for f in joined.feedbacks if f.trust is not Trust.BARE and f.kind is FeedbackKind.CORRECTION]
    return bool(trusted) and exchange_reward(trusted, joined.exchange.completion).value == 0.0


def restore(read: Read, row: rollouts.Rollout) -> Evidence:
    """The evidence of a rollout from its rows and its newest exchanges."""
    stored = {u.seq: u for u in units.of_rollout(read, row.id)}
    events = _events(read, row.id, stored)
    evidence = Evidence.restore(
        row.id,
        RolloutConfig.model_validate(row.data["config"]),
        Bounds.from_dict(row.data.get("bounds", {})),
        membership(row.data.get("slice")),
        [
            Unit(u.seq, u.session, u.identity, u.arm == "canary", u.propensity, u.in_slice, u.first_at, u.capped)
            for u in stored.values()
        ],
        events,
        Before.from_dict(row.data.get("before")),
        sliced=row.data.get("slice") is not None,
    )
    memory = max(KILL_MEMORY * evidence.config.kill_errors, evidence.config.fleet_window)
    newest = exchanges.newest_of_rollout(read, row.id, memory)
    evidence.recall_kill_switch(sorted(newest, key=lambda x: (x.completed_at, x.exchange_id)))
    return evidence


def unit_events(read: Read, rollout: str) -> list[UnitEvent]:
    """What the e-processes of a rollout consumed, in order."""
    return _events(read, rollout, {u.seq: u for u in units.of_rollout(read, rollout)})


def intervals_of(read: Read, row: rollouts.Rollout, most: int | None = None) -> dict[str, float]:
    """Confidence sequences of what was stored by now, for the ledger beside the e-values of a verdict; empty in a phase
    without users, and beyond ``most`` units.

    They decide nothing, so whatever is wrong with the rows is logged, and keeps nobody from writing a verdict down.
    """
    if Phase(row.phase) not in LIVE or (most is not None and units.count(read, row.id) > most):
        return {}
    try:
        return intervals(unit_events(read, row.id), RolloutConfig.model_validate(row.data["config"]).alpha)
    except Exception as error:
        log.warning("intervals_left_out", rollout=row.id, error=repr(error), exc_info=True)
        return {}


def _events(read: Read, rollout: str, stored: Mapping[int, units.Unit]) -> list[UnitEvent]:
    return [
        UnitEvent(
            seq=e.seq,
            path=Path(e.path),
            unit=e.unit,
            canary=stored[e.unit].arm == "canary",
            propensity=stored[e.unit].propensity,
            value=e.value,
            in_slice=stored[e.unit].in_slice,
            at=e.at,
        )
        for e in units.events_of(read, rollout)
    ]


def mature(read: Read, evidence: Evidence, now: float) -> Tick:
    """Close the units whose window is over at ``now`` (wall-clock seconds), by what is stored of them.

    Called in the transaction that stored the batch. What was sent after a unit's window does not count, however late
    it is looked at, and what is said now is not remembered: so a restart and the order of arrival change nothing.
    """
    window_s = evidence.config.maturity_s
    return evidence.mature(now, lambda due: _rewards(read, evidence.rollout, due, window_s))


def _rewards(read: Read, rollout: str, due: Sequence[Unit], window_s: float) -> dict[str, list[float]]:
    """Session to the rewards of its exchanges in the rollout, in the order of their ids: a sum of floats depends on it.

    A piece at a time, so that after an outage no more than that is in memory.
    """
    until = {unit.session: unit.first_at + window_s for unit in due}
    found: dict[str, list[float]] = {}
    for piece in batches(until):
        came = exchanges.of_rollout_sessions(read, rollout, piece)
        rewards = stored_rewards(read, came)
        for exchange in sorted(came, key=lambda x: x.exchange_id):
            value = rewards.of(exchange, until[exchange.session])
            if value is not None:
                found.setdefault(exchange.session, []).append(value)
    return found


def store_tick(tx: Tx, rollout: str, ticks: list[Tick]) -> None:
    """Write the units and events that a batch made."""
    new_units = [
        units.Unit(
            rollout,
            u.seq,
            u.session,
            u.identity,
            "canary" if u.canary else "control",
            u.propensity,
            u.in_slice,
            u.capped,
            u.first_at,
        )
        for tick in ticks
        for u in tick.units
    ]
    events = [
        units.UnitEvent(rollout, e.seq, e.path.value, e.unit, e.value, e.at) for tick in ticks for e in tick.events
    ]
    units.append(tx, new_units, events)
