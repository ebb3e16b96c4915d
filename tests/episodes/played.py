"""What an episode plays instead of the parts that need files, sockets or a GPU: log, watch, buffers, trainer, gate.

Each answers by the world's seed alone. The rest (controller, rolling, routing, adoption, residency, learning, ingest,
joiner, evidence, verdict) is the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from adapters.file_checks import AdapterRejected, RejectReason
from adapters.manifest import Manifest
from daemon.residency import Residency
from daemon.store import Store, Tx, buffers, cycles, exchanges, feedback, suspended
from deploy.agent import Agent
from monitors.alarms import Alarm, AlarmKind, SliceModel
from monitors.coverage import Coverage
from monitors.gate import GateReason, GateResult
from streams.codec import Decoded, Origin
from streams.events import DeadLetter, Exchange, Feedback, Trust
from streams.log import Gap, Position, Record

DEPLOYMENT, BASE, IDENTITY = "support", "support-base", "support-000000000000"
BASE_DIGEST = "b" * 64
TRAFFIC, FEEDBACK = "homeostat.traffic", "homeostat.feedback"


@dataclass(frozen=True)
class Quality:
    """What a version is worth, whoever has found out."""

    up: float
    """Chance of a thumb up."""
    fails: float = 0.0
    """Chance of a 5xx."""
    effect: bool = True
    """False: it loads and does nothing."""
    gate: str = "pass"
    finite: bool = True


PLAIN = Quality(0.5)


def quality_of(rng: Random) -> Quality:
    """One of the kinds of version that a training may give."""
    kind = rng.random()
    if kind < 0.45:
        return Quality(0.95)
    if kind < 0.60:
        return Quality(0.05)  # bad, and the gate does not see it
    if kind < 0.68:
        return Quality(0.5, fails=0.9)
    if kind < 0.74:
        return Quality(0.5)
    if kind < 0.82:
        return Quality(0.2, gate="fail")
    if kind < 0.88:
        return Quality(0.5, gate="inconclusive")
    if kind < 0.94:
        return Quality(0.5, effect=False)
    return Quality(0.5, finite=False)


@dataclass
class Log:
    """Everything that was appended, in order; outlives the daemons."""

    records: list[Record] = field(default_factory=list[Record])
    decoded: dict[tuple[str, int, int], Decoded | DeadLetter] = field(
        default_factory=dict[tuple[str, int, int], Decoded | DeadLetter]
    )
    ends: dict[Position, int] = field(default_factory=dict[Position, int])
    starts: dict[Position, int] = field(default_factory=dict[Position, int])
    """First offset that retention has left, where it took any."""
    lost: dict[tuple[Position, int], None] = field(default_factory=dict[tuple[Position, int], None])
    """Records that it took before they were read, as a set in order."""

    def drop(self, position: Position, read_to: int, low: int) -> None:
        """Retention takes what lies below ``low``; whoever reads has come to ``read_to``."""
        first = max(read_to, self.starts.get(position, 0))
        self.lost |= {(position, offset): None for offset in range(first, low)}
        self.starts[position] = max(low, self.starts.get(position, 0))

    def append(self, event: Exchange | Feedback | None, at: float, token: str = "t") -> None:
        """One record; None is one that nobody can decode."""
        known = isinstance(event, Exchange)
        topic = TRAFFIC if known else FEEDBACK
        position = (topic, 0)
        offset = self.ends.get(position, 0)
        self.ends[position] = offset + 1
        found: Decoded | DeadLetter
        if event is None:
            found = DeadLetter(
                reason="not_json",
                detail="JSON expected, it breaks at character 1",
                topic=topic,
                partition=0,
                offset=offset,
                payload_b64="ew==",
                at=at,
            )
        else:
            name = event.exchange_id if known else event.feedback_id
            found = Decoded(name, "gateway", event, Origin(topic, 0, offset), at, token)
        self.decoded[topic, 0, offset] = found
        self.records.append(Record(topic, 0, offset, None, b"", at))

    def decode(self, record: Record) -> Decoded | DeadLetter:
        """Stands for ``streams.codec.decode``."""
        return self.decoded[record.topic, record.partition, record.offset]


class LogSource:
    """Implements ``streams.log.Source``."""

    def __init__(self, log: Log, away: Callable[[], None]) -> None:
        self._log, self._away = log, away
        self._next: dict[Position, int] = {}
        self._gaps: list[Gap] = []
        self._at = 0

    def start(self, next_offsets: Mapping[Position, int]) -> Sequence[Gap]:
        """Seek."""
        self._away()
        self._next = dict(next_offsets)
        self._at = 0
        self._find_gaps()
        return self.take_gaps()

    def _find_gaps(self) -> None:
        for position, low in self._log.starts.items():
            expected = self._next.get(position)
            if expected is not None and expected < low:
                self._gaps.append(Gap(*position, expected, low))
            if expected is None or expected < low:
                self._next[position] = low

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """The next ones in the order of appending."""
        self._away()
        self._find_gaps()
        records, found = self._log.records, list[Record]()
        while self._at < len(records) and len(found) < max_records:
            record = records[self._at]
            self._at += 1
            position = (record.topic, record.partition)
            if record.offset >= self._next.get(position, 0):
                found.append(record)
                self._next[position] = record.offset + 1
        return found

    def take_gaps(self) -> Sequence[Gap]:
        """What retention took since the last call."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def acknowledge(self, next_offsets: Mapping[Position, int]) -> None:
        """Nobody looks."""

    def lag(self) -> Mapping[Position, int]:
        """What is left."""
        return {place: end - self._next.get(place, 0) for place, end in self._log.ends.items()}

    def close(self) -> None:
        """Nothing to release."""


class CountingWatch:
    """Counts what it is shown and alarms where an exchange says so: the same exchange, the same alarm."""

    def __init__(self, parts: dict[str, bytes]) -> None:
        self.seen = parts.get("seen", b"").decode().split()
        self.rebased = int(parts.get("rebased", b"0"))

    def observe_exchange(self, exchange: Exchange) -> list[Alarm]:
        """Remember its id."""
        self.seen.append(exchange.exchange_id)
        if not exchange.finish_reason:
            return []
        kind = AlarmKind(exchange.finish_reason)
        name = sha256(exchange.exchange_id.encode()).hexdigest()[:16]
        alarm = Alarm(
            alarm_id=name,
            deployment=DEPLOYMENT,
            kind=kind,
            detector="played",
            primary=True,
            confirmed=True,
            at=exchange.received_at,
            event_index=len(self.seen),
            evidence={"cause": "changed_answers" if name < "a" else "unknown"},
        )
        return [alarm]

    def observe_reward(
        self, exchange: Exchange, reward: float, sent_at: float | None = None, corrected: bool = False
    ) -> list[Alarm]:
        """Nothing to say."""
        return []

    @property
    def coverage(self) -> Coverage:
        """A day."""
        return Coverage("watching", len(self.seen), 1, 86_400.0, 86_400.0, 1, 1, True)

    def slice_now(self) -> SliceModel | None:
        """Everything."""
        return None

    def rebase(self, now: float, reason: str) -> None:
        """Count it."""
        self.rebased += 1

    def relearn_rewards(self) -> None:
        """Count it."""
        self.rebased += 1

    def dump_parts(self) -> dict[str, bytes]:
        """All of it."""
        return {"seen": " ".join(self.seen).encode(), "rebased": b"%d" % self.rebased}


@dataclass
class Built:
    """A buffer of rated exchanges."""

    ids: list[str]

    @property
    def new(self) -> int:
        """Examples to learn from."""
        return len(self.ids)

    @property
    def digest(self) -> str:
        """By content."""
        return sha256(" ".join(self.ids).encode()).hexdigest()

    @property
    def folder(self) -> str:
        """No files are written."""
        return f"/buffers/{self.digest}"

    @property
    def counts(self) -> dict[str, int]:
        """For the ledger."""
        return {"examples": len(self.ids), "new": len(self.ids)}

    def questions_for(self, _gate: object) -> bool:
        """The gate is played."""
        return True


class Builder:
    """Stands for ``BufferBuilder``: the newest rated exchanges that are not suspended."""

    MOST = 12

    def __init__(self, store: Store) -> None:
        self._store = store

    def build(self, cycle: cycles.Cycle, _inside: object, _champion: object, _overrides: object, now: float) -> Built:
        """Select."""
        with self._store.read() as read:
            found = exchanges.since(read, DEPLOYMENT, now - 1000.0, now, 200)
            said = feedback.for_exchanges(read, [x.exchange_id for x in found])
            out = suspended.all_ids(read)
        rated = [x.exchange_id for x in found if any(f.trust is not Trust.BARE for f in said.get(x.exchange_id, []))]
        return Built(sorted([one for one in rated if one not in out][-self.MOST :]))

    def record(self, tx: Tx, built: Built, cycle: cycles.Cycle, now: float) -> None:
        """Rows."""
        row = buffers.Buffer(built.digest, DEPLOYMENT, "default", cycle.cause, built.counts, now)
        buffers.add(tx, row, [buffers.Item(one, "new", "played", "selected") for one in built.ids])


@dataclass
class Registry:
    """Stands for ``adapters.registry.Registry``: what the trainer staged, admitted unless it is not finite."""

    qualities: dict[str, Quality]
    staged: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Job to (version, buffer digest)."""
    admitted: dict[str, Manifest] = field(default_factory=dict[str, Manifest])

    def settle(self, job: str, version: str | None, _base: object) -> Manifest:
        """Admit. Raises AdapterRejected."""
        name, buffer = self.staged[job]
        if not self.qualities[name].finite:
            raise AdapterRejected(RejectReason.NON_FINITE, "NaN in lora_A")
        return self.admitted.setdefault(name, manifest_of(name, buffer))

    def manifest(self, version: str) -> Manifest:
        """As registered."""
        return self.admitted[version]

    def path(self, version: str) -> Path:
        """No files are written."""
        return Path("/artifacts") / version


@lru_cache(maxsize=256)
def manifest_of(version: str, buffer: str | None) -> Manifest:
    """The manifest of a version that was trained on a buffer."""
    return Manifest.model_construct(
        version=version,
        kind="lora",
        deployment=DEPLOYMENT,
        tenant="default",
        digest=sha256(version.encode()).hexdigest(),
        base_digest=BASE_DIGEST,
        parent=None,
        buffer_digest=buffer,
        metrics={},
        created_at=0.0,
    )


class Gate:
    """Stands for ``GateTask``: makes the version resident on one replica, and answers two ticks later."""

    def __init__(self, agent: Agent, residency: Residency, qualities: Mapping[str, Quality]) -> None:
        self._agent, self._residency, self._qualities = agent, residency, qualities
        self._asked: dict[str, int] = {}

    def result(self, cycle: cycles.Cycle, version: str, _champion: str | None) -> GateResult | None:
        """The verdict that the version's quality gives."""
        asked = self._asked[version] = self._asked.get(version, 0) + 1
        if asked == 1:
            alive = [r for r in self._agent.observe().replicas if r.alive][:1]
            found = self._residency.everywhere(version, alive, cycle.id)
            if found.final:
                return GateResult(verdict="error", reason=GateReason.INVALID_EVIDENCE, checks=())
            if not found.ok:
                self._asked[version] = 0
            return None
        if asked < 3:
            return None
        match self._qualities[version].gate:
            case "pass":
                return GateResult(verdict="pass", reason=GateReason.PASSED, checks=())
            case "fail":
                return GateResult(verdict="fail", reason=GateReason.OLD_DESKS_WORSE, checks=())
            case _:
                return GateResult(verdict="inconclusive", reason=GateReason.TOO_FEW_NEW, checks=())

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._asked = {}


class Silent:
    """Metrics and logs that nobody reads."""

    def __getattr__(self, name: str) -> Any:
        setattr(self, name, self)
        return self

    def __call__(self, *_args: object, **_more: object) -> Any:
        return self
