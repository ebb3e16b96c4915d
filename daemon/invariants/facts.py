"""The snapshot that the invariants look at: what host, log and store hold, and what was done since the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from daemon.store.cycles import Cycle
from daemon.store.ledger import Entry
from daemon.store.rollouts import Rollout
from daemon.store.units import Unit, UnitEvent
from daemon.store.versions import Version
from deploy.agent import ReplicaState
from deploy.routes import RouteFile, Split
from streams.log import Gap, Position


class Written(NamedTuple):
    """One route file that the host had, and the replicas that its writer had seen (empty: a rollback looks at none)."""

    file: RouteFile
    seen: Sequence[ReplicaState] = ()


class Serving(NamedTuple):
    """One replica as it is, whoever knows of it."""

    name: str
    incarnation: str
    ready: bool
    """Its gateway says that it may be sent traffic."""
    control: str | None
    """Control of the route that its gateway holds."""
    epoch: int
    holds: AbstractSet[str]
    """Versions that are loaded and were proved in this incarnation."""
    settled: bool
    """It has not restarted, nor been away, since before the newest complete tick."""
    lease_live: bool
    """Its gateway gives the split of its route, if there is one, its share."""


class Served(NamedTuple):
    """One answer to a user."""

    replica: str
    incarnation: str
    version: str
    epoch: int
    proved: bool
    """The version's effect was proved on this replica in this incarnation, whether the row is written or not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A person's rollback, and what came of it."""

    outcome: str
    """``done``, the named reason of a refusal, or the words of an error."""
    refused: bool
    target: str | None
    file: RouteFile | None
    """The host's route when the answer was given."""
    up: Sequence[Serving]
    """Replicas that answered then."""
    overtaken: bool = False
    """Somebody at the host was faster, and chose the target."""
    blind: bool = False
    """The agent had just been restarted and remembered no proof: what is loaded is all that one can go by."""


class Logged(NamedTuple):
    """One record of the log; ``event`` None: it cannot be decoded."""

    position: Position
    offset: int
    kind: str
    """``exchange``, ``feedback`` or ``broken``."""
    event: str


@dataclass(frozen=True)
class Events:
    """The ingest's side. Ids of what is stored; ``watched``: how often a detector was shown an exchange."""

    log: Sequence[Logged]
    committed: Mapping[Position, int]
    exchanges: AbstractSet[str]
    feedback: AbstractSet[str]
    letters: AbstractSet[tuple[str, int, int]]
    counters: Mapping[str, int]
    watched: Mapping[str, int]
    lost: AbstractSet[tuple[Position, int]] = frozenset()
    """Places of records that retention took before they were read."""
    gaps: Sequence[Gap] = ()
    """As the store has them."""

    @cached_property
    def passed_over(self) -> frozenset[tuple[Position, int]]:
        """Places that the recorded gaps name."""
        return frozenset([((g.topic, g.partition), at) for g in self.gaps for at in range(g.expected, g.found)])

    @cached_property
    def kept(self) -> Sequence[Logged]:
        """The log without what the recorded gaps name."""
        gone = self.passed_over
        return self.log if not gone else [one for one in self.log if (one.position, one.offset) not in gone]

    @cached_property
    def below(self) -> tuple[set[str], set[str]]:
        """Ids of the exchanges and of the feedback below the committed offsets."""
        exchanges, feedback = set[str](), set[str]()
        for one in self.kept:
            if one.kind != "broken" and one.offset < self.committed.get(one.position, 0):
                (exchanges if one.kind == "exchange" else feedback).add(one.event)
        return exchanges, feedback


WRITTEN: Final = 1
"""The host's route file."""
ROWS: Final = 2
"""Rows of the store, the ledger's among them."""
REPLICAS: Final = 4
"""What the replicas are and hold."""
SERVED: Final = 8
"""Answers to users."""
ASKED: Final = 16
"""Rollbacks that a person asked for."""
TICKED: Final = 32
"""A tick came to its end."""
COMMITTED: Final = 64
"""A batch of events."""
AGAIN: Final = 128
"""A redelivery or a restart."""
CALM: Final = 256
"""Time without faults."""
EVERYTHING: Final = 2 * CALM - 1


@dataclass(slots=True)  # frozen, it would cost more to make than most checks cost
class Facts:
    """A snapshot. Sequences are oldest first; ``ledger_from`` and ``written_from`` say what is new since the last
    snapshot that was looked at, so that a check of the new alone costs little.
    """

    now: float
    alias: str
    identity: str | None
    base_digest: str
    written: Sequence[Written]
    written_from: int
    replicas: Sequence[Serving]
    served: Sequence[Served]
    """Answers since the last snapshot."""
    asked: Sequence[Asked]
    """Rollbacks since the last snapshot."""
    versions: Mapping[str, Version]
    denied: AbstractSet[str]
    learned: Mapping[str, AbstractSet[str]]
    """Buffer digest to the exchanges that a version trained on it learned anew."""
    proved: AbstractSet[tuple[str, str, str]]
    """(version, replica, incarnation) with a recorded proof that is good."""
    rollouts: Sequence[Rollout]
    cycles: Sequence[Cycle]
    ledger: Sequence[Entry]
    ledger_from: int
    fence: int
    units: Mapping[str, Sequence[Unit]]
    unit_events: Mapping[str, Sequence[UnitEvent]]
    events: Events | None = None
    """None: no batch was committed since the last snapshot."""
    ticked: bool = False
    """A tick has just come to its end, and nothing came in between."""
    again: tuple[object, object] | None = None
    """What the store and memory held before a redelivery or a restart, and after it."""
    lag: int = 0
    changed: int = EVERYTHING
    """What may differ from the snapshot before, as a sum of the parts above."""
    calm_s: float | None = None
    """Seconds of ticks and batches without any fault, at the end of a run; None while faults happen."""

    @property
    def file(self) -> RouteFile | None:
        """The host's route file now."""
        return self.written[-1].file if self.written else None


def weighted(file: RouteFile | None, alias: str) -> list[str]:
    """Versions that a route file gives any weight: its control, its split's candidate and its holdback's anchor."""
    route = None if file is None else file.route(alias)
    if route is None:
        return []
    split, held = route.split, route.holdback
    named = [route.control, None if split is None else split.candidate, None if held is None else held.anchor]
    return [version for version in dict.fromkeys(named) if version is not None]


def split_of(file: RouteFile | None, alias: str) -> Split | None:
    """The split of a route file."""
    route = None if file is None else file.route(alias)
    return None if route is None else route.split
