"""The row functions of ledger, alarms, cycles, rollouts and intents, over the tables in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from daemon.store import intents as intent_rows
from daemon.store.alarms import AlarmRow
from daemon.store.cycles import Cycle
from daemon.store.intents import Intent
from daemon.store.ledger import Entry
from daemon.store.rollouts import Rollout, RolloutActive
from tests.episodes.twin_tables import Json, TwinTx, as_json, changed


def ledger_append(
    tx: TwinTx,
    *,
    at: float,
    deployment: str,
    subject: str,
    kind: str,
    reason: str,
    actor: str,
    data: Json,
    refs: Iterable[str] = (),
) -> int:
    number = len(tx.t.ledger) + 1
    tx.add(tx.t.ledger, Entry(number, at, deployment, subject, kind, reason, actor, as_json(dict(data))))
    return number


def ledger_after(read: TwinTx, last_id: int, limit: int, deployment: str | None = None) -> list[Entry]:
    return read.t.ledger[last_id : last_id + limit]


def ledger_newest(read: TwinTx, limit: int) -> list[Entry]:
    return read.t.ledger[-limit:]


def ledger_about(read: TwinTx, subject: str, limit: int = 1000) -> list[Entry]:
    return [e for e in read.t.ledger if e.subject == subject][:limit]


def alarms_get(read: TwinTx, alarm_id: str) -> AlarmRow | None:
    return read.t.alarms.get(alarm_id)


def alarms_insert_new(tx: TwinTx, alarms: Sequence[AlarmRow]) -> set[str]:
    fresh: set[str] = set()
    for alarm in alarms:
        if alarm.alarm_id not in tx.t.alarms:
            tx.put(tx.t.alarms, alarm.alarm_id, changed(alarm, seq=len(tx.t.alarms) + 1))
            fresh.add(alarm.alarm_id)
    return fresh


def alarms_unanswered(read: TwinTx, deployment: str, limit: int = 100) -> list[AlarmRow]:
    return [a for a in read.t.alarms.values() if a.primary and a.confirmed and a.answer is None][:limit]


def alarms_answer(tx: TwinTx, alarm_id: str, text: str | None) -> None:
    tx.put(tx.t.alarms, alarm_id, changed(tx.t.alarms[alarm_id], answer=text))


def alarms_newest(read: TwinTx, deployment: str, limit: int) -> list[AlarmRow]:
    return list(read.t.alarms.values())[-limit:]


def cycles_create(
    tx: TwinTx, *, cycle: str, deployment: str, cause: str, phase: str, reason: str, data: Json, at: float
) -> Cycle:
    assert cycles_active(tx, deployment) is None, "one active cycle a deployment"
    row = Cycle(cycle, deployment, cause, phase, True, reason, as_json(dict(data)), at, at)
    tx.put(tx.t.cycles, cycle, row)
    return row


def cycles_get(read: TwinTx, cycle: str) -> Cycle | None:
    return read.t.cycles.get(cycle)


def cycles_active(read: TwinTx, deployment: str) -> Cycle | None:
    for cycle in reversed(read.t.cycles.values()):
        if cycle.active:
            return cycle
    return None


def cycles_update_phase(
    tx: TwinTx, cycle: str, *, phase: str, reason: str, data: Json, at: float, active: bool = True
) -> None:
    row = tx.t.cycles[cycle]
    new = changed(row, phase=phase, reason=reason, data=as_json(dict(data)), changed_at=at, active=active)
    tx.put(tx.t.cycles, cycle, new)


def cycles_newest(read: TwinTx, deployment: str, limit: int) -> list[Cycle]:
    return sorted(read.t.cycles.values(), key=attrgetter("started_at", "id"), reverse=True)[:limit]


def rollouts_create(tx: TwinTx, rollout: Rollout) -> None:
    if rollouts_active(tx, rollout.deployment) is not None:
        raise RolloutActive(f"{rollout.deployment} has an active rollout, {rollout.id} cannot start")
    tx.put(tx.t.rollouts, rollout.id, changed(rollout, data=as_json(dict(rollout.data))))


def rollouts_get(read: TwinTx, rollout: str) -> Rollout | None:
    return read.t.rollouts.get(rollout)


def rollouts_active(read: TwinTx, deployment: str) -> Rollout | None:
    for rollout in reversed(read.t.rollouts.values()):
        if rollout.active:
            return rollout
    return None


def rollouts_update_phase(
    tx: TwinTx,
    rollout: str,
    *,
    phase: str,
    reason: str,
    at: float,
    data: Json | None = None,
    control: str | None = None,
    deadline: float | None = None,
    ended: bool = False,
) -> None:
    facts: dict[str, Any] = {"phase": phase, "reason": reason, "changed_at": at}
    if data is not None:
        facts["data"] = as_json(dict(data))
    if control is not None:
        facts["control"] = control
    if deadline is not None:
        facts["deadline"] = deadline
    if ended:
        facts |= {"active": False, "ended_at": at}
    tx.put(tx.t.rollouts, rollout, changed(tx.t.rollouts[rollout], **facts))


def rollouts_newest(read: TwinTx, deployment: str, limit: int) -> list[Rollout]:
    return sorted(read.t.rollouts.values(), key=attrgetter("started_at", "id"), reverse=True)[:limit]


def fences_current(read: TwinTx, deployment: str) -> int:
    return read.t.fences.get(deployment, 0)


def fences_adopt(tx: TwinTx, deployment: str, epoch: int, *, holder: str, at: float) -> None:
    if epoch > tx.t.fences.get(deployment, 0):
        tx.put(tx.t.fences, deployment, epoch)


def intents_declare(tx: TwinTx, *, rollout: str, effect: str, args: Json, reason: str, at: float) -> int:
    wanted = as_json(dict(args))
    for known in intents_pending(tx, rollout):
        if known.effect == effect and known.args == wanted:
            return known.id
    number = len(tx.t.intents) + 1
    tx.put(tx.t.intents, number, Intent(number, rollout, effect, wanted, "pending", reason, at, None))
    tx.put(tx.t.pending, number, None)
    return number


def intents_settle(tx: TwinTx, intent: int, state: intent_rows.State, *, reason: str, at: float) -> None:
    tx.put(tx.t.intents, intent, changed(tx.t.intents[intent], state=state, reason=reason, settled_at=at))
    tx.drop(tx.t.pending, intent)


def intents_pending(read: TwinTx, rollout: str | None = None) -> list[Intent]:
    found = [read.t.intents[number] for number in sorted(read.t.pending)]
    return [i for i in found if rollout is None or i.rollout == rollout]
