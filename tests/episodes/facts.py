"""A snapshot of a world for the invariants; what cannot have changed since the last one is not made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from daemon.invariants import Events, Facts, Logged, Serving
from daemon.invariants.facts import AGAIN, ASKED, CALM, COMMITTED, REPLICAS, ROWS, SERVED, TICKED, WRITTEN
from streams.codec import Decoded
from tests.episodes.host import ALIAS
from tests.episodes.played import BASE_DIGEST, IDENTITY, TRAFFIC
from tests.episodes.twin_tables import Tables
from tests.episodes.world import World


@dataclass
class Camera:
    """Remembers what it has shown."""

    world: World
    tables: Callable[[], Tables]
    written: int = 0
    ledger: int = 0
    proofs: int = 0
    letters: int = 0
    logged: list[Logged] = field(default_factory=list[Logged])
    proved: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    learned: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    committed: object = None
    commits: int = -1
    replicas: list[Serving] = field(default_factory=list[Serving])

    def shoot(self, calm_s: float | None = None, again: tuple[object, object] | None = None) -> Facts | None:
        """The facts of this instant; None: nothing that an invariant reads has changed since the last ones."""
        world, host = self.world, self.world.host
        changed = 0
        if len(host.written) != self.written:
            changed |= WRITTEN
        if host.served:
            changed |= SERVED
        if world.asked:
            changed |= ASKED
        if world.ticked:
            changed |= TICKED
        if again is not None:
            changed |= AGAIN
        if calm_s is not None:
            changed |= CALM
        replicas = [r.serving(world.mono) for r in host.replicas]
        if replicas != self.replicas:
            changed |= REPLICAS
            self.replicas = replicas
        t, events = self.tables(), None
        if world.store.commits != self.commits:
            changed |= ROWS
            self.commits = world.store.commits
            self._rows(t)
            events = self._events(t)
            if events is not None:
                changed |= COMMITTED
        if not changed:
            return None
        facts = Facts(
            now=world.now,
            alias=ALIAS,
            identity=None if world.mode == "observe" else IDENTITY,
            base_digest=BASE_DIGEST,
            written=host.written,
            written_from=self.written,
            replicas=replicas,
            served=tuple(host.served),
            asked=tuple(world.asked),
            versions=t.versions,
            denied=t.denials.keys(),
            learned=self.learned,
            proved=self.proved,
            rollouts=list(t.rollouts.values()),
            cycles=list(t.cycles.values()),
            ledger=t.ledger,
            ledger_from=self.ledger,
            fence=max(t.fences.values(), default=0),
            units=t.units,
            unit_events=t.events,
            events=events,
            ticked=world.ticked,
            again=again,
            lag=0 if calm_s is None else sum(end - t.offsets.get(at, 0) for at, end in world.log.ends.items()),
            changed=changed,
            calm_s=calm_s,
        )
        self.written, self.ledger = len(host.written), len(t.ledger)
        host.served.clear()
        world.asked.clear()
        world.ticked = False
        return facts

    def _rows(self, t: Tables) -> None:
        """What the new rows say of proofs and of buffers."""
        if len(t.proofs) != self.proofs:
            for proof in islice(t.proofs, self.proofs, None):
                if proof.ok:
                    self.proved.add((proof.version, proof.replica, proof.incarnation))
            self.proofs = len(t.proofs)
        if len(t.items) != len(self.learned):
            for digest in t.items.keys() - self.learned.keys():
                self.learned[digest] = frozenset(i.exchange_id for i in t.items[digest] if i.role == "new")

    def _events(self, t: Tables) -> Events | None:
        if self.committed == t.offsets and self.letters == len(t.letters):
            return None
        self.committed, self.letters = dict(t.offsets), len(t.letters)
        decoded = self.world.log.decoded
        for place, found in islice(decoded.items(), len(self.logged), None):
            topic, partition, offset = place
            if isinstance(found, Decoded):
                kind, name = "exchange" if topic == TRAFFIC else "feedback", found.event_id
            else:
                kind, name = "broken", ""
            self.logged.append(Logged((topic, partition), offset, kind, name))
        return Events(
            log=self.logged,
            committed=t.offsets,
            exchanges=t.exchanges.keys(),
            feedback=t.feedback.keys(),
            letters=t.letters.keys(),
            counters=t.counters,
            watched=Counter(t.states.get("watch:seen", b"").decode().split()),
            lost=self.world.log.lost.keys(),
            gaps=t.gaps,
        )


def kept(t: Tables) -> dict[str, object]:
    """What a redelivery must leave as it is, as values of their own."""
    counts = {name: n for name, n in t.counters.items() if name not in ("duplicates", "dead_letters")}
    return {
        "counters": counts,
        "exchanges": dict(t.exchanges),
        "feedback": dict(t.feedback),
        "sessions": dict(t.sessions),
        "letters": {place for place, letter in t.letters.items() if letter.reason != "not_json"},
        "watch": {name: blob for name, blob in t.states.items() if name.startswith("watch:")},
        "alarms": set(t.alarms),
        "units": {name: list(rows) for name, rows in t.units.items()},
        "events": {name: list(rows) for name, rows in t.events.items()},
    }
