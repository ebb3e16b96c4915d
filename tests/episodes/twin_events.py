"""The row functions of the log and the events, over the tables in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from daemon.store.sessions import Session
from daemon.store.units import Unit, UnitEvent
from monitors.reward import Heard
from streams.events import DeadLetter, Exchange, Feedback
from streams.log import Gap, Position
from tests.episodes.twin_tables import TwinTx


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
    for gap in gaps:
        if (gap.topic, gap.partition) in tx.t.offsets:
            tx.put(tx.t.offsets, (gap.topic, gap.partition), gap.found)


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


def exchanges_kept_rewards(read: TwinTx, ids: Iterable[str]) -> dict[str, Heard]:
    del read, ids
    return {}  # retention is not played: every text is still there


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


def units_count(read: TwinTx, rollout: str) -> int:
    return len(read.t.units.get(rollout, ()))


def units_events_of(read: TwinTx, rollout: str, path: str | None = None, after_seq: int = -1) -> list[UnitEvent]:
    found = read.t.events.get(rollout, ())
    return [e for e in found if e.seq > after_seq and (path is None or e.path == path)]
