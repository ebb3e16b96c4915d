"""The evidence of the running rollout, shared by the ingest thread (which feeds it) and the controller (which judges
it).

Fed only inside the ingest's transaction; what the controller reads are immutable values, so it takes no lock. After a
restart, or after a transaction that failed, it is rebuilt from its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from daemon.store import exchanges, feedback, rollouts, units
from daemon.store.open import Read, Tx
from deploy.evidence import Evidence, Tick, Unit
from deploy.processes import Path, UnitEvent
from deploy.rollout import RolloutConfig
from monitors.alarms import SliceModel
from monitors.reward import exchange_reward
from streams.events import Trust

InSlice = Callable[[str], bool]


def membership(slice_json: object) -> InSlice:
    """The frozen slice of a rollout as a function of the prompt; without a slice everything is inside."""
    if slice_json is None:
        return lambda _text: True
    return SliceModel.model_validate(slice_json).contains


def restore(read: Read, row: rollouts.Rollout) -> Evidence:
    """The evidence of a rollout from its rows and the feedback on its open units."""
    stored = {u.seq: u for u in units.of_rollout(read, row.id)}
    events = [
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
        for e in units.events_of(read, row.id)
    ]
    evidence = Evidence.restore(
        row.id,
        RolloutConfig.model_validate(row.data["config"]),
        cast("float", row.data["latency_tau_s"]),
        membership(row.data.get("slice")),
        [
            Unit(u.seq, u.session, u.identity, u.arm == "canary", u.propensity, u.in_slice, u.first_at, u.capped)
            for u in stored.values()
        ],
        events,
    )
    _recall_open(read, row, evidence)
    return evidence


def _recall_open(read: Read, row: rollouts.Rollout, evidence: Evidence) -> None:
    known = exchanges.of_rollout_sessions(read, row.id, evidence.open_sessions)
    said = feedback.for_exchanges(read, [x.exchange_id for x in known])
    for exchange in known:
        feedbacks = [f for f in said.get(exchange.exchange_id, []) if f.trust is not Trust.BARE]
        reward = exchange_reward(feedbacks, exchange.completion)
        if reward.value is not None:
            evidence.recall(exchange, reward.value, min(f.sent_at for f in feedbacks))


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
