"""The invariants, checked on what a run left behind: the log, the store, the route files, the replies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from sqlalchemy import select

from daemon.store import Store, counters, exchanges, intents, ledger, offsets, rollouts, tables, units
from daemon.store import feedback as feedback_rows
from deploy.processes import Path as EvidencePath
from deploy.processes import Processes, UnitEvent, apply
from deploy.rollout import Phase, RolloutConfig, Signal, replay
from deploy.routes import RouteFile
from deploy.verdict import numbers
from monitors.reward import exchange_reward
from streams.codec import Decoded, decode
from streams.events import Exchange, Feedback
from streams.log import Record
from tests.e2e.traffic import Traffic

PROOF_SLACK_S: Final = 0.5
"""Seconds by which a proof's row may come after the gateway was told, on a busy machine."""


@dataclass(frozen=True)
class Log:
    """The whole log, in the order of appending."""

    exchanges: Sequence[tuple[str, Exchange]]
    """(gateway, exchange)."""
    feedback: Sequence[Feedback]
    heads: Mapping[str, int]
    """Topic to the next offset."""


def read_log(path: Path) -> Log:
    """Decode everything; a record that cannot be decoded fails."""
    found: list[tuple[str, Exchange]] = []
    said: list[Feedback] = []
    heads: dict[str, int] = {}
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT topic, part, off, key, value, ts FROM events ORDER BY seq").fetchall()
    for row in rows:
        record = Record(*row)
        decoded = decode(record)
        assert isinstance(decoded, Decoded), decoded
        heads[record.topic] = record.offset + 1
        if isinstance(decoded.event, Exchange):
            found.append((decoded.source, decoded.event))
        else:
            said.append(decoded.event)
    return Log(found, said, heads)


def caught_up(store: Store, path: Path, gateways_queued: int) -> bool:
    """Whether everything that was said is on the log and everything on the log is committed."""
    with closing(sqlite3.connect(path)) as connection:
        heads = dict(connection.execute("SELECT topic, next FROM heads").fetchall())
    with store.read() as read:
        done = {topic: following for (topic, _), following in offsets.get_all(read).items()}
    return gateways_queued == 0 and all(done.get(topic, 0) == end for topic, end in heads.items())


def nothing_lost_or_counted_twice(store: Store, log: Log, traffic: Traffic) -> None:
    """E1, E2: replies that users got == events on the log == rows == counters; the same for feedback."""
    replied = [r.exchange_id for r in traffic.replies]
    logged = [x.exchange_id for _, x in log.exchanges]
    assert len(replied) == len(set(replied))
    assert len(logged) == len(set(logged))
    assert set(logged) == set(replied)
    said = [f.feedback_id for f in log.feedback]
    assert len(said) == len(set(said))
    assert sorted(said) == sorted(traffic.feedback)
    with store.read() as read:
        counted = counters.get_all(read)
        kept = exchanges.get_many(read, logged)
        notes = feedback_rows.for_exchanges(read, logged)
        committed = {topic: following for (topic, _), following in offsets.get_all(read).items()}
    assert committed == log.heads
    assert set(kept) == set(logged)
    assert sorted(f.feedback_id for fs in notes.values() for f in fs) == sorted(said)
    assert counted["exchanges"] == len(logged)
    assert counted["feedback"] == len(said)
    assert counted["joined"] == len(notes), "a changed mind is a revision"
    assert not counted.get("dead_letters")
    assert not counted.get("orphans")
    assert not counted.get("late")


def units_are_the_sessions(store: Store, log: Log, rollout: str) -> int:
    """Units are exactly the sessions that the log shows, and each matured unit has the reward that its users gave,
    although the daemon was killed in between; how many there are.
    """
    first: dict[str, tuple[int, Exchange]] = {}
    for place, (_, exchange) in enumerate(log.exchanges):
        first.setdefault(exchange.session, (place, exchange))
    drawn = {
        session: (place, x)
        for session, (place, x) in first.items()
        if x.rollout == rollout and x.propensity is not None and 0.0 < x.propensity < 1.0
    }
    with store.read() as read:
        row = rollouts.get(read, rollout)
        stored = units.of_rollout(read, rollout)
        events = units.events_of(read, rollout)
    assert row is not None
    assert [u.seq for u in stored] == list(range(len(stored)))
    assert len({u.session for u in stored}) == len(stored)
    for unit in stored:
        _, exchange = drawn[unit.session]
        assert (unit.arm, unit.propensity) == (exchange.arm, exchange.propensity)
    newest = max(drawn[u.session][0] for u in stored)
    missing = {s for s, (place, _) in drawn.items() if place < newest} - {u.session for u in stored}
    assert not missing, "sessions before the last counted one that are no units"
    config = RolloutConfig.model_validate(row.data["config"])
    rewards = _rewards(log, config, {u.session: u.first_at for u in stored})
    for event in events:
        session = stored[event.unit].session
        if event.path == EvidencePath.PROMOTE:
            assert event.value == rewards[session]
        elif event.path == EvidencePath.CLOSED:
            assert session not in rewards, "a unit with feedback was closed without it"
    return len(stored)


def _rewards(log: Log, config: RolloutConfig, first_at: Mapping[str, float]) -> dict[str, float]:
    """Session to the mean reward of its exchanges that were rated within the maturity window."""
    said: dict[str, list[Feedback]] = {}
    for one in log.feedback:
        said.setdefault(one.exchange_id, []).append(one)
    found: dict[str, dict[str, float]] = {}
    for _, exchange in log.exchanges:
        began = first_at.get(exchange.session)
        if began is None:
            continue
        notes = [f for f in said.get(exchange.exchange_id, []) if f.sent_at <= began + config.maturity_s]
        if not notes:
            continue
        value = exchange_reward(notes, exchange.completion).value
        assert value is not None
        found.setdefault(exchange.session, {})[exchange.exchange_id] = value
    return {s: sum(values[k] for k in sorted(values)) / len(values) for s, values in found.items()}


def verdicts_are_recomputed(store: Store, rollout: str) -> dict[str, float]:
    """Every verdict in the ledger has the e-values that some prefix of its recorded units gives; the e-value that
    each rests on, by the phase it led to.
    """
    with store.read() as read:
        row = rollouts.get(read, rollout)
        stored = {u.seq: u for u in units.of_rollout(read, rollout)}
        events = units.events_of(read, rollout)
        entries = [e for e in ledger.of_subject(read, rollout) if e.kind == "rollout" and "units" in e.data]
    assert row is not None
    config, state = RolloutConfig.model_validate(row.data["config"]), Processes()
    wanted = {e.id: {k: e.data[k] for k in _shown(Processes()) if k in e.data} for e in entries}
    found: set[int] = {key for key, values in wanted.items() if values == _shown(state)}
    for e in events:
        u = stored[e.unit]
        event = UnitEvent(
            e.seq, EvidencePath(e.path), e.unit, u.arm == "canary", u.propensity, e.value, u.in_slice, e.at
        )
        state = apply(state, event, config)
        shown = _shown(state)
        found |= {key for key, values in wanted.items() if all(shown.get(k) == v for k, v in values.items())}
    assert found >= wanted.keys(), [e.data for e in entries if e.id not in found]
    needed = {"step_passed": "e_non_inferior_small", "harm": "e_harm"}
    return {e.data["to_phase"]: e.data[needed[e.data["signal"]]] for e in entries if e.data["signal"] in needed}


def _shown(state: Processes) -> dict[str, float]:
    return {k: v for k, v in numbers(state).items() if v == v}


def ledger_replays(store: Store, rollout: str, end: Phase) -> None:
    """R5: the moves in the ledger lead to the phase of the row, and no effect is left half done."""
    with store.read() as read:
        moves = [
            e.data["signal"] for e in ledger.of_subject(read, rollout) if e.kind == "rollout" and "signal" in e.data
        ]
        pending = intents.pending(read)
        row = rollouts.get(read, rollout)
    assert replay(Signal(m) for m in moves) is end
    assert row is not None
    assert row.phase == end.value
    assert not row.active
    assert pending == []


def proved_before_served(store: Store, log: Log, restarted_at: Mapping[str, float] | None = None) -> None:
    """A1: whatever answered as a version did so after the version's effect was proved on that replica, in its present
    incarnation. ``restarted_at``: replica to the second from which on its second incarnation serves.
    """
    with store.read() as read:
        rows = read.conn.execute(select(tables.proofs).where(tables.proofs.c.ok)).all()
    versions = {row.version for row in rows}
    for source, exchange in log.exchanges:
        replica, version = source.rpartition("/")[2], exchange.version
        since = (restarted_at or {}).get(replica, 0.0)
        began = since if exchange.dispatched_at >= since else 0.0
        # the gateway is told of a proof just before the row is written
        proofs = [r.at - PROOF_SLACK_S for r in rows if (r.version, r.replica) == (version, replica) and r.at >= began]
        assert version in versions or exchange.rollout is None, f"{version} serves and is proved nowhere"
        assert version not in versions or min(proofs, default=inf) <= exchange.dispatched_at, (version, replica)


def epochs_rise(history: Iterable[tuple[float, RouteFile]], log: Log) -> None:
    """R1: epochs and, within one, leases never fall: in the file, and in the order of dispatch at each gateway."""
    keys = [
        (file.epoch, max((r.split.lease_seq for r in file.routes if r.split is not None), default=0))
        for _, file in history
    ]
    assert keys == sorted(keys)
    by_gateway: dict[str, list[Exchange]] = {}
    for source, exchange in log.exchanges:
        by_gateway.setdefault(source, []).append(exchange)
    for served in by_gateway.values():
        epochs = [x.route_epoch for x in sorted(served, key=lambda x: x.dispatched_at)]
        assert epochs == sorted(epochs)


def never_served_after(history: Sequence[tuple[float, RouteFile]], log: Log, version: str, epoch: int) -> None:
    """R4: from the epoch of its rollback on no route names the version, and no gateway that holds one dispatched to
    it.
    """
    for _, file in history:
        if file.epoch >= epoch:
            named = {r.control for r in file.routes} | {r.split.candidate for r in file.routes if r.split is not None}
            assert version not in named, file
    late = [x.exchange_id for _, x in log.exchanges if x.route_epoch >= epoch and x.version == version]
    assert late == []
