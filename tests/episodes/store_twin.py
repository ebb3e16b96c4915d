"""The store in memory: the row functions of ``daemon.store`` over dictionaries, so that an episode costs milliseconds.

One writer, no isolation: what runs here runs in one thread. A transaction keeps an undo list, so what fails inside it
never happened. ``test_twin`` runs the same seeds on this store and on SQLite and compares everything they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import ModuleType, TracebackType
from typing import Any, Final, cast

import orjson

from daemon import store
from daemon.store import alarms as alarm_rows
from daemon.store import buffers as buffer_rows
from daemon.store import counters as counter_rows
from daemon.store import cycles as cycle_rows
from daemon.store import dead_letters as letter_rows
from daemon.store import denials as denial_rows
from daemon.store import exchanges as exchange_rows
from daemon.store import feedback as feedback_rows
from daemon.store import fences as fence_rows
from daemon.store import intents as intent_rows
from daemon.store import jobs as job_rows
from daemon.store import ledger as ledger_rows
from daemon.store import offsets as offset_rows
from daemon.store import proofs as proof_rows
from daemon.store import rollouts as rollout_rows
from daemon.store import sessions as session_rows
from daemon.store import states as state_rows
from daemon.store import suspended as suspended_rows
from daemon.store import units as unit_rows
from daemon.store import versions as version_rows
from daemon.store.alarms import AlarmRow
from daemon.store.buffers import Buffer, Item
from daemon.store.cycles import Cycle
from daemon.store.denials import Denial
from daemon.store.intents import Intent
from daemon.store.jobs import Job
from daemon.store.ledger import Entry
from daemon.store.proofs import Proof
from daemon.store.rollouts import Rollout, RolloutActive
from daemon.store.sessions import Session
from daemon.store.units import Unit, UnitEvent
from daemon.store.versions import Version
from streams.events import DeadLetter, Exchange, Feedback
from streams.log import Gap, Position

Json = Mapping[str, Any]


@dataclass
class Tables:
    """Every row, by its key."""

    offsets: dict[Position, int] = field(default_factory=dict[Position, int])
    gaps: list[Gap] = field(default_factory=list[Gap])
    letters: dict[tuple[str, int, int], DeadLetter] = field(default_factory=dict[tuple[str, int, int], DeadLetter])
    counters: dict[str, int] = field(default_factory=dict[str, int])
    exchanges: dict[str, Exchange] = field(default_factory=dict[str, Exchange])
    feedback: dict[str, Feedback] = field(default_factory=dict[str, Feedback])
    said: dict[str, list[Feedback]] = field(default_factory=dict[str, list[Feedback]])
    """Exchange id to its feedback, in the order of storing."""
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    states: dict[str, bytes] = field(default_factory=dict[str, bytes])
    ledger: list[Entry] = field(default_factory=list[Entry])
    alarms: dict[str, AlarmRow] = field(default_factory=dict[str, AlarmRow])
    cycles: dict[str, Cycle] = field(default_factory=dict[str, Cycle])
    rollouts: dict[str, Rollout] = field(default_factory=dict[str, Rollout])
    fences: dict[str, int] = field(default_factory=dict[str, int])
    intents: dict[int, Intent] = field(default_factory=dict[int, Intent])
    pending: dict[int, None] = field(default_factory=dict[int, None])
    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    proofs: list[Proof] = field(default_factory=list[Proof])
    denials: dict[str, Denial] = field(default_factory=dict[str, Denial])
    suspended: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    items: dict[str, list[Item]] = field(default_factory=dict[str, list[Item]])
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    units: dict[str, list[Unit]] = field(default_factory=dict[str, list[Unit]])
    events: dict[str, list[UnitEvent]] = field(default_factory=dict[str, list[UnitEvent]])


_ABSENT: Final = object()


class TwinTx:
    """Stands for ``Tx`` and ``Read``: the tables, and how to take back what was changed."""

    __slots__ = ("t", "undo")

    def __init__(self, tables: Tables) -> None:
        self.t = tables
        self.undo: list[tuple[Any, Any, Any]] = []

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Set one row."""
        self.undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def drop(self, table: dict[Any, Any], key: Any) -> None:
        """Remove one row; nothing happens when it is not there."""
        if key in table:
            self.undo.append((table, key, table.pop(key)))

    def add(self, rows: list[Any], *new: Any) -> None:
        """Append rows."""
        self.undo.append((rows, None, len(rows)))
        rows.extend(new)

    def take_back(self) -> None:
        """As if nothing had been written."""
        for table, key, before in reversed(self.undo):
            if isinstance(table, list):
                del cast("list[Any]", table)[before:]
            elif before is _ABSENT:
                table.pop(key, None)
            else:
                table[key] = before


class _Begin:
    __slots__ = ("_store", "_tx")

    def __init__(self, twin: StoreTwin) -> None:
        self._store = twin
        self._tx = TwinTx(twin.tables)

    def __enter__(self) -> TwinTx:
        assert not self._store.writing, "a second writer inside a transaction would wait for ever"
        self._store.before_begin()
        self._store.writing = True
        return self._tx

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.writing = False
        try:
            if kind is None:
                self._store.before_commit()
        except BaseException:
            self._tx.take_back()
            raise
        if kind is not None:
            self._tx.take_back()
            return
        if self._tx.undo:
            self._store.commits += 1
        self._store.after_commit()


class _Look:
    """A look changes nothing, so that all looks are one."""

    __slots__ = ("_tx",)

    def __init__(self, tables: Tables) -> None:
        self._tx = TwinTx(tables)

    def __enter__(self) -> TwinTx:
        return self._tx

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


class StoreTwin:
    """Has ``begin`` and ``read`` of ``daemon.store.Store``. The hooks are where an episode makes it fail."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.writing = False
        self.commits = 0
        nothing: Callable[[], None] = lambda: None  # noqa: E731
        self.before_begin = self.before_commit = self.after_commit = nothing
        self._look = _Look(self.tables)

    def begin(self) -> _Begin:
        """The writer's transaction."""
        return _Begin(self)

    def read(self) -> _Look:
        """What is committed now."""
        return self._look


def _json(value: Any) -> Any:
    """What a JSON column gives back."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))


# ------------------------------------------------------------------------------------------------------------ the log


def offsets_get_all(read: TwinTx) -> dict[Position, int]:
    return dict(read.t.offsets)


def offsets_put(tx: TwinTx, next_offsets: Mapping[Position, int]) -> None:
    for position, offset in next_offsets.items():
        before = tx.t.offsets.get(position)
        if before is not None and offset < before:
            raise ValueError(f"offset of {position} must not go back from {before} to {offset}")
        tx.put(tx.t.offsets, position, offset)


def offsets_record_gaps(tx: TwinTx, gaps: Sequence[Gap], at: float) -> None:
    tx.add(tx.t.gaps, *gaps)


def letters_insert_new(tx: TwinTx, letters: Sequence[DeadLetter]) -> int:
    fresh = 0
    for letter in letters:
        position = (letter.topic, letter.partition, letter.offset)
        if position not in tx.t.letters:
            tx.put(tx.t.letters, position, letter)
            fresh += 1
    return fresh


def letters_unsent(read: TwinTx, limit: int) -> list[DeadLetter]:
    ordered = sorted(read.t.letters.values(), key=lambda x: (x.at, x.topic, x.partition, x.offset))
    return ordered[:limit]


def counters_add(tx: TwinTx, found: Mapping[str, int]) -> None:
    for name, number in found.items():
        tx.put(tx.t.counters, name, tx.t.counters.get(name, 0) + number)


def counters_get_all(read: TwinTx) -> dict[str, int]:
    return dict(read.t.counters)


# --------------------------------------------------------------------------------------------------------- the events


def exchanges_insert_new(tx: TwinTx, events: Sequence[Exchange]) -> set[str]:
    fresh: set[str] = set()
    for event in events:
        if event.exchange_id not in tx.t.exchanges:
            tx.put(tx.t.exchanges, event.exchange_id, event)
            fresh.add(event.exchange_id)
    return fresh


_received = attrgetter("received_at", "exchange_id")
_sent = attrgetter("sent_at", "feedback_id")


def exchanges_since(read: TwinTx, deployment: str, from_s: float, until_s: float, limit: int) -> list[Exchange]:
    found = [x for x in read.t.exchanges.values() if from_s <= x.received_at < until_s]
    found.sort(key=_received)
    return found[-limit:]


def exchanges_get_many(read: TwinTx, ids: Iterable[str]) -> dict[str, Exchange]:
    return {one: read.t.exchanges[one] for one in ids if one in read.t.exchanges}


def exchanges_of_rollout_sessions(read: TwinTx, rollout: str, sessions: Iterable[str]) -> list[Exchange]:
    wanted = frozenset(sessions)
    found = [x for x in read.t.exchanges.values() if x.rollout == rollout and x.session in wanted]
    return sorted(found, key=_received)


def exchanges_newest_of_rollout(read: TwinTx, rollout: str, limit: int) -> list[Exchange]:
    return sorted((x for x in read.t.exchanges.values() if x.rollout == rollout), key=_received)[-limit:]


def feedback_insert_new(tx: TwinTx, events: Sequence[Feedback]) -> set[str]:
    fresh: set[str] = set()
    for event in events:
        if event.feedback_id not in tx.t.feedback:
            tx.put(tx.t.feedback, event.feedback_id, event)
            tx.put(tx.t.said, event.exchange_id, [*tx.t.said.get(event.exchange_id, ()), event])
            fresh.add(event.feedback_id)
    return fresh


def feedback_for_exchanges(read: TwinTx, ids: Iterable[str]) -> dict[str, list[Feedback]]:
    said = read.t.said
    return {one: sorted(said[one], key=_sent) for one in ids if one in said}


def feedback_since(read: TwinTx, deployment: str, from_s: float, until_s: float, limit: int) -> list[Feedback]:
    found = [f for f in read.t.feedback.values() if from_s <= f.sent_at < until_s]
    found.sort(key=_sent)
    return found[-limit:]


def sessions_insert_new(tx: TwinTx, found: Sequence[Session]) -> set[str]:
    fresh: set[str] = set()
    for session in found:
        if session.session not in tx.t.sessions:
            tx.put(tx.t.sessions, session.session, session)
            fresh.add(session.session)
    return fresh


def states_get(read: TwinTx, name: str) -> bytes | None:
    return read.t.states.get(name)


def states_with_prefix(read: TwinTx, prefix: str) -> dict[str, bytes]:
    return {name: blob for name, blob in read.t.states.items() if name.startswith(prefix)}


def states_put(tx: TwinTx, name: str, blob: bytes, at: float) -> None:
    tx.put(tx.t.states, name, blob)


def states_drop(tx: TwinTx, name: str) -> None:
    tx.drop(tx.t.states, name)


def units_append(tx: TwinTx, new_units: Sequence[Unit], events: Sequence[UnitEvent]) -> None:
    for unit in new_units:
        known = tx.t.units.setdefault(unit.rollout, [])
        assert unit.seq == len(known), f"unit {unit.seq} of {unit.rollout} after {len(known)}"
        tx.add(known, unit)
    for one in events:
        before = tx.t.events.setdefault(one.rollout, [])
        assert not before or one.seq > before[-1].seq, f"event {one.seq} of {one.rollout} again"
        tx.add(before, one)


def units_of_rollout(read: TwinTx, rollout: str) -> list[Unit]:
    return list(read.t.units.get(rollout, ()))


def units_events_of(read: TwinTx, rollout: str, path: str | None = None, after_seq: int = -1) -> list[UnitEvent]:
    found = read.t.events.get(rollout, ())
    return [e for e in found if e.seq > after_seq and (path is None or e.path == path)]


# ---------------------------------------------------------------------------------------------------------- decisions


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
    tx.add(tx.t.ledger, Entry(number, at, deployment, subject, kind, reason, actor, _json(dict(data))))
    return number


def ledger_after(read: TwinTx, last_id: int, limit: int, deployment: str | None = None) -> list[Entry]:
    return read.t.ledger[last_id : last_id + limit]


def ledger_about(read: TwinTx, subject: str, limit: int = 1000) -> list[Entry]:
    return [e for e in read.t.ledger if e.subject == subject][:limit]


def alarms_insert_new(tx: TwinTx, alarms: Sequence[AlarmRow]) -> set[str]:
    fresh: set[str] = set()
    for alarm in alarms:
        if alarm.alarm_id not in tx.t.alarms:
            tx.put(tx.t.alarms, alarm.alarm_id, replace(alarm, seq=len(tx.t.alarms) + 1))
            fresh.add(alarm.alarm_id)
    return fresh


def alarms_unanswered(read: TwinTx, deployment: str, limit: int = 100) -> list[AlarmRow]:
    return [a for a in read.t.alarms.values() if a.primary and a.confirmed and a.answer is None][:limit]


def alarms_answer(tx: TwinTx, alarm_id: str, text: str) -> None:
    tx.put(tx.t.alarms, alarm_id, replace(tx.t.alarms[alarm_id], answer=text))


def alarms_newest(read: TwinTx, deployment: str, limit: int) -> list[AlarmRow]:
    return list(read.t.alarms.values())[-limit:]


def cycles_create(
    tx: TwinTx, *, cycle: str, deployment: str, cause: str, phase: str, reason: str, data: Json, at: float
) -> Cycle:
    assert cycles_active(tx, deployment) is None, "one active cycle a deployment"
    row = Cycle(cycle, deployment, cause, phase, True, reason, _json(dict(data)), at, at)
    tx.put(tx.t.cycles, cycle, row)
    return row


def cycles_get(read: TwinTx, cycle: str) -> Cycle | None:
    return read.t.cycles.get(cycle)


def cycles_active(read: TwinTx, deployment: str) -> Cycle | None:
    return next((c for c in reversed(read.t.cycles.values()) if c.active), None)


def cycles_update_phase(
    tx: TwinTx, cycle: str, *, phase: str, reason: str, data: Json, at: float, active: bool = True
) -> None:
    row = tx.t.cycles[cycle]
    changed = replace(row, phase=phase, reason=reason, data=_json(dict(data)), changed_at=at, active=active)
    tx.put(tx.t.cycles, cycle, changed)


def cycles_newest(read: TwinTx, deployment: str, limit: int) -> list[Cycle]:
    return sorted(read.t.cycles.values(), key=attrgetter("started_at", "id"), reverse=True)[:limit]


def rollouts_create(tx: TwinTx, rollout: Rollout) -> None:
    if rollouts_active(tx, rollout.deployment) is not None:
        raise RolloutActive(f"{rollout.deployment} has an active rollout, {rollout.id} cannot start")
    tx.put(tx.t.rollouts, rollout.id, replace(rollout, data=_json(dict(rollout.data))))


def rollouts_get(read: TwinTx, rollout: str) -> Rollout | None:
    return read.t.rollouts.get(rollout)


def rollouts_active(read: TwinTx, deployment: str) -> Rollout | None:
    return next((r for r in reversed(read.t.rollouts.values()) if r.active), None)


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
    row = replace(tx.t.rollouts[rollout], phase=phase, reason=reason, changed_at=at)
    if data is not None:
        row = replace(row, data=_json(dict(data)))
    if control is not None:
        row = replace(row, control=control)
    if deadline is not None:
        row = replace(row, deadline=deadline)
    if ended:
        row = replace(row, active=False, ended_at=at)
    tx.put(tx.t.rollouts, rollout, row)


def rollouts_newest(read: TwinTx, deployment: str, limit: int) -> list[Rollout]:
    return sorted(read.t.rollouts.values(), key=attrgetter("started_at", "id"), reverse=True)[:limit]


def fences_current(read: TwinTx, deployment: str) -> int:
    return read.t.fences.get(deployment, 0)


def fences_adopt(tx: TwinTx, deployment: str, epoch: int, *, holder: str, at: float) -> None:
    if epoch > tx.t.fences.get(deployment, 0):
        tx.put(tx.t.fences, deployment, epoch)


def intents_declare(tx: TwinTx, *, rollout: str, effect: str, args: Json, reason: str, at: float) -> int:
    wanted = _json(dict(args))
    for known in intents_pending(tx, rollout):
        if known.effect == effect and known.args == wanted:
            return known.id
    number = len(tx.t.intents) + 1
    tx.put(tx.t.intents, number, Intent(number, rollout, effect, wanted, "pending", reason, at, None))
    tx.put(tx.t.pending, number, None)
    return number


def intents_settle(tx: TwinTx, intent: int, state: intent_rows.State, *, reason: str, at: float) -> None:
    tx.put(tx.t.intents, intent, replace(tx.t.intents[intent], state=state, reason=reason, settled_at=at))
    tx.drop(tx.t.pending, intent)


def intents_pending(read: TwinTx, rollout: str | None = None) -> list[Intent]:
    found = [read.t.intents[number] for number in sorted(read.t.pending)]
    return [i for i in found if rollout is None or i.rollout == rollout]


# ----------------------------------------------------------------------------------------------------------- versions


def versions_register(tx: TwinTx, version: Version) -> bool:
    if version.version in tx.t.versions:
        return False
    tx.put(tx.t.versions, version.version, version)
    return True


def versions_get(read: TwinTx, version: str) -> Version | None:
    return read.t.versions.get(version)


def versions_of_deployment(read: TwinTx, deployment: str, limit: int = 1000) -> list[Version]:
    return sorted(read.t.versions.values(), key=lambda v: (-v.created_at, v.version))[:limit]


def versions_set_gate(tx: TwinTx, version: str, gate: Json, *, passed: bool) -> None:
    row = replace(tx.t.versions[version], gate=_json(dict(gate)))
    tx.put(tx.t.versions, version, replace(row, status="gated") if passed else row)


def versions_promote(tx: TwinTx, version: str, at: float) -> None:
    if version in tx.t.versions:
        newest = max((v.promoted_at for v in tx.t.versions.values() if v.promoted_at is not None), default=None)
        above = at if newest is None else max(at, newest + version_rows.STEP_S)
        tx.put(tx.t.versions, version, replace(tx.t.versions[version], status="promoted", promoted_at=above))


def versions_set_status(tx: TwinTx, version: str, status: version_rows.Status) -> None:
    if version in tx.t.versions:
        tx.put(tx.t.versions, version, replace(tx.t.versions[version], status=status))


def versions_promoted_stack(read: TwinTx, deployment: str) -> list[Version]:
    found = [v for v in read.t.versions.values() if v.status == "promoted" and v.kind != "identity"]
    return sorted(found, key=lambda v: v.promoted_at or 0.0, reverse=True)


def proofs_add(tx: TwinTx, proof: Proof) -> None:
    tx.add(tx.t.proofs, replace(proof, numbers=_json(dict(proof.numbers))))


def proofs_latest(read: TwinTx, version: str) -> dict[str, Proof]:
    return {p.replica: p for p in read.t.proofs if p.version == version}


def denials_deny(tx: TwinTx, deployment: str, version: str, *, reason: str, actor: str, at: float) -> None:
    if version not in tx.t.denials:
        tx.put(tx.t.denials, version, Denial(version, reason, actor, at))


def denials_lift(tx: TwinTx, version: str, *, reason: str, at: float) -> bool:
    known = version in tx.t.denials
    tx.drop(tx.t.denials, version)
    return known


def denials_of_deployment(read: TwinTx, deployment: str) -> Mapping[str, Denial]:
    return dict(read.t.denials)


def denials_is_denied(read: TwinTx, version: str) -> bool:
    return version in read.t.denials


def suspended_add(tx: TwinTx, rollout: str, exchange_ids: Sequence[str], at: float) -> int:
    fresh = [one for one in dict.fromkeys(exchange_ids) if (one, rollout) not in tx.t.suspended]
    for one in fresh:
        tx.put(tx.t.suspended, (one, rollout), at)
    return len(fresh)


def suspended_all_ids(read: TwinTx) -> set[str]:
    return {one for one, _ in read.t.suspended}


def buffers_add(tx: TwinTx, buffer: Buffer, items: Sequence[Item]) -> bool:
    if buffer.digest in tx.t.buffers:
        return False
    tx.put(tx.t.buffers, buffer.digest, buffer)
    tx.put(tx.t.items, buffer.digest, sorted(items, key=attrgetter("exchange_id", "role")))
    return True


def buffers_get(read: TwinTx, digest: str) -> Buffer | None:
    return read.t.buffers.get(digest)


def buffers_items(read: TwinTx, digest: str, role: str | None = None) -> list[Item]:
    return [i for i in read.t.items.get(digest, ()) if role is None or i.role == role]


def jobs_create(tx: TwinTx, *, job: str, cycle: str, spec: Json, max_attempts: int, at: float) -> None:
    if job not in tx.t.jobs:
        row = Job(job, cycle, "queued", 0, max_attempts, None, _json(dict(spec)), {}, "queued", at, None, None, None)
        tx.put(tx.t.jobs, job, row)


def jobs_claim(tx: TwinTx, worker: str, *, now: float) -> Job | None:
    queued = sorted((j for j in tx.t.jobs.values() if j.state == "queued"), key=attrgetter("created_at", "id"))
    if not queued:
        return None
    row = queued[0]
    row = replace(row, state="claimed", worker=worker, attempt=row.attempt + 1, claimed_at=now, heartbeat_at=now)
    tx.put(tx.t.jobs, row.id, replace(row, reason="claimed"))
    return tx.t.jobs[row.id]


def jobs_heartbeat(tx: TwinTx, job: str, *, worker: str, attempt: int, report: Json, now: float) -> bool:
    row = tx.t.jobs.get(job)
    if row is None or (row.state, row.worker, row.attempt) != ("claimed", worker, attempt):
        return False
    tx.put(tx.t.jobs, job, replace(row, heartbeat_at=now, report=_json(dict(report))))
    return True


def jobs_finish(tx: TwinTx, job: str, *, attempt: int, report: Json, at: float) -> bool:
    row = tx.t.jobs.get(job)
    if row is None or (row.state, row.attempt) != ("claimed", attempt):
        return False
    tx.put(tx.t.jobs, job, replace(row, state="done", report=_json(dict(report)), reason="done", ended_at=at))
    return True


def jobs_fail(tx: TwinTx, job: str, *, attempt: int, reason: str, report: Json, at: float) -> job_rows.State | None:
    row = tx.t.jobs.get(job)
    if row is None or (row.state, row.attempt) != ("claimed", attempt):
        return None
    again = attempt < row.max_attempts
    state: job_rows.State = "queued" if again else "failed"
    ended = None if again else at
    changed = replace(row, state=state, worker=None, report=_json(dict(report)), reason=reason, ended_at=ended)
    tx.put(tx.t.jobs, job, changed)
    return state


def jobs_expire(tx: TwinTx, *, now: float, lease_s: float) -> list[Job]:
    for row in [j for j in tx.t.jobs.values() if j.state == "claimed" and (j.heartbeat_at or 0.0) > now]:
        tx.put(tx.t.jobs, row.id, replace(row, heartbeat_at=now))
    gone = [j for j in tx.t.jobs.values() if j.state == "claimed" and (j.heartbeat_at or 0.0) < now - lease_s]
    for row in gone:
        jobs_fail(tx, row.id, attempt=row.attempt, reason="lease_expired", report=row.report, at=now)
    return [tx.t.jobs[row.id] for row in gone]


def jobs_cancel(tx: TwinTx, job: str, *, reason: str, at: float) -> None:
    row = tx.t.jobs.get(job)
    if row is not None and row.state in ("queued", "claimed"):
        tx.put(tx.t.jobs, job, replace(row, state="cancelled", reason=reason, ended_at=at))


def jobs_get(read: TwinTx, job: str) -> Job | None:
    return read.t.jobs.get(job)


def jobs_of_cycle(read: TwinTx, cycle: str) -> list[Job]:
    return sorted((j for j in read.t.jobs.values() if j.cycle == cycle), key=attrgetter("created_at"))


MODULES: Final[Mapping[str, ModuleType]] = {
    "offsets": offset_rows,
    "letters": letter_rows,
    "counters": counter_rows,
    "exchanges": exchange_rows,
    "feedback": feedback_rows,
    "sessions": session_rows,
    "states": state_rows,
    "units": unit_rows,
    "ledger": ledger_rows,
    "alarms": alarm_rows,
    "cycles": cycle_rows,
    "rollouts": rollout_rows,
    "fences": fence_rows,
    "intents": intent_rows,
    "versions": version_rows,
    "proofs": proof_rows,
    "denials": denial_rows,
    "suspended": suspended_rows,
    "buffers": buffer_rows,
    "jobs": job_rows,
}
"""Prefix of the functions above to the module whose functions they stand for."""


@contextmanager
def twin_rows() -> Generator[None]:
    """Within, the row functions of ``daemon.store`` work on a ``StoreTwin`` and on nothing else.

    A function of those modules without a twin raises, rather than to touch a table that is not there.
    """
    kept: list[tuple[ModuleType, str, object]] = []
    for prefix, module in MODULES.items():
        for name, function in list(vars(module).items()):
            if (
                name.startswith("_")
                or getattr(function, "__module__", "") != module.__name__
                or isinstance(function, type)
            ):
                continue
            if callable(function):
                kept.append((module, name, function))
                setattr(module, name, globals().get(f"{prefix}_{name}", _missing(prefix, name)))
    try:
        yield
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


def _missing(prefix: str, name: str) -> Callable[..., Any]:
    def refuse(*_args: object, **_more: object) -> Any:
        raise NotImplementedError(f"{store.__name__}.{prefix}.{name} has no twin")

    return refuse
