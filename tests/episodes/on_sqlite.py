"""The same hooks and tables for the product's own store, so that a seed may be played on SQLite as on the twin."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from sqlalchemy import select

from daemon.store import (
    Read,
    Store,
    Tx,
    alarms,
    counters,
    cycles,
    dead_letters,
    denials,
    exchanges,
    feedback,
    intents,
    jobs,
    ledger,
    offsets,
    rollouts,
    sessions,
    states,
    tables,
    units,
    versions,
)
from daemon.store.buffers import Buffer
from daemon.store.buffers import items as items_of
from daemon.store.proofs import Proof
from tests.episodes.played import DEPLOYMENT
from tests.episodes.twin_tables import Tables

MOST = 10_000


class HookedStore:
    """A ``Store`` that an episode can make fail where it makes the twin fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.writing = False
        nothing: Callable[[], None] = lambda: None  # noqa: E731
        self.before_begin = self.before_commit = self.after_commit = nothing

    @contextmanager
    def begin(self) -> Generator[Tx]:
        """The writer's transaction."""
        self.before_begin()
        with self._store.begin() as tx:
            self.writing = True
            try:
                yield tx
            finally:
                self.writing = False
            self.before_commit()
        self.after_commit()

    @contextmanager
    def read(self) -> Generator[Read]:
        """A snapshot."""
        with self._store.read() as read:
            yield read


def tables_of(store: HookedStore) -> Tables:
    """Every row, as the twin holds them."""
    with store.read() as read:
        every = read.conn.execute
        found = Tables(
            offsets=offsets.get_all(read),
            gaps=offsets.gaps(read),
            letters={(x.topic, x.partition, x.offset): x for x in dead_letters.unsent(read, MOST)},
            counters=counters.get_all(read),
            exchanges={x.exchange_id: x for x in exchanges.since(read, DEPLOYMENT, 0.0, float("inf"), MOST)},
            feedback={f.feedback_id: f for f in feedback.since(read, DEPLOYMENT, 0.0, float("inf"), MOST)},
            sessions=sessions.get_many(read, DEPLOYMENT, every(select(tables.sessions.c.session)).scalars().all()),
            states=states.with_prefix(read, ""),
            ledger=ledger.after(read, 0, MOST),
            alarms={a.alarm_id: a for a in alarms.newest(read, DEPLOYMENT, MOST)},
            cycles={c.id: c for c in cycles.newest(read, DEPLOYMENT, MOST)},
            rollouts={r.id: r for r in rollouts.newest(read, DEPLOYMENT, MOST)},
            fences={row.deployment: row.epoch for row in every(select(tables.fences))},
            versions={v.version: v for v in versions.of_deployment(read, DEPLOYMENT)},
            proofs=[
                Proof(p.version, p.replica, p.incarnation, p.ok, p.reason, p.numbers, p.at)
                for p in every(select(tables.proofs).order_by(tables.proofs.c.id))
            ],
            denials=dict(denials.of_deployment(read, DEPLOYMENT)),
            suspended={(s.exchange_id, s.rollout): s.at for s in every(select(tables.suspended))},
        )
        for name in every(select(tables.rollouts.c.id)).scalars().all():
            if units.of_rollout(read, name):
                found.units[name] = units.of_rollout(read, name)
                found.events[name] = units.events_of(read, name)
        for row in every(select(tables.buffers)).all():
            found.buffers[row.digest] = Buffer(*row)
            found.items[row.digest] = items_of(read, row.digest)
        for name in every(select(tables.jobs.c.id)).scalars().all():
            job = jobs.get(read, name)
            assert job is not None
            found.jobs[name] = job
        for name in every(select(tables.intents.c.rollout).distinct()).scalars().all():
            found.intents |= {i.id: i for i in intents.of_rollout(read, name)}
        found.pending = {i.id: None for i in intents.pending(read)}
    return found
