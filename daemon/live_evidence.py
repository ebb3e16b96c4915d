"""The evidence of the running rollout, shared by the ingest thread (which feeds it) and the controller (which judges
it).

Fed only inside the ingest's transaction; what the controller reads are immutable values, so it takes no lock. After a
restart, or after a transaction that failed, it is rebuilt from its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from daemon.store import exchanges, feedback, rollouts, units
from daemon.store.open import Read, Tx
from deploy.evidence import Evidence, Tick, Unit
from deploy.fleet import Before
from deploy.guards import Bounds
from deploy.intervals import intervals
from deploy.rollout import LIVE, Phase, RolloutConfig
from deploy.unit_events import Path, UnitEvent
from monitors.alarms import SliceModel
from monitors.reward import exchange_reward
from streams.config import JoinConfig
from streams.events import FeedbackKind, Trust
from streams.findings import Joined
from streams.join import Joiner

log = structlog.get_logger(room="daemon.live_evidence")
InSlice = Callable[[str], bool]
KILL_MEMORY: Final = 20
"""Exchanges of both arms that are looked back on for each server error that the kill switch needs: enough for a share
of one twentieth.
"""
MOST_UNITS: Final = 10_000
"""Units up to which a way back is recorded with intervals: about a third of a second, in which nobody else writes."""

_JOIN: Final = JoinConfig()


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


def restore(read: Read, row: rollouts.Rollout, join: JoinConfig = _JOIN) -> Evidence:
    """The evidence of a rollout from its rows, the feedback on its open units and its newest exchanges."""
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
    _recall_open(read, row, evidence, Joiner(join))
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


def _recall_open(read: Read, row: rollouts.Rollout, evidence: Evidence, joiner: Joiner) -> None:
    """What was said of open units, once more through a joiner: it decides which feedback counts, as it did before."""
    known = exchanges.of_rollout_sessions(read, row.id, evidence.open_sessions)
    said = feedback.for_exchanges(read, [x.exchange_id for x in known])
    for exchange in known:
        joiner.observe(exchange, exchange.completed_at)
        for one in said.get(exchange.exchange_id, []):
            for finding in joiner.observe(one, one.sent_at):
                found = rated(finding) if isinstance(finding, Joined) else None
                if found is not None:
                    evidence.recall(exchange, *found)


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
