"""From the log to the store: poll, decode, dedupe, join, watch, count; one transaction a batch.

Offsets, events, dedupe keys, detector state and units commit together, so an event below the committed offset is
stored or dead-lettered exactly once and counted once everywhere. Memory (joiner, watch, evidence) is changed inside
the transaction; when that fails, memory is thrown away and rebuilt from the store before the next batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from daemon import ledger
from daemon.batch import Batch, letter, measure, store_alarms
from daemon.intake import TokenIsValid, insert_new, take
from daemon.live_evidence import corrected, mature, rated, restore, store_tick
from daemon.quarantine import Quarantine
from daemon.store import (
    counters,
    dead_letters,
    exchanges,
    feedback,
    offsets,
    rollouts,
    states,
)
from daemon.store.open import Read, Store, Tx
from daemon.stored_watch import MakeWatch, StoredWatch, Watching
from deploy.evidence import Evidence, Observed
from monitors.alarms import SliceModel
from monitors.metrics import Metrics
from streams.collector import settle
from streams.config import JoinConfig
from streams.dead_letters import Reason
from streams.events import Exchange
from streams.failpoints import failpoint
from streams.findings import Closed, Finding, Joined, Late, Orphan, Refused, Unlabelled
from streams.join import Joiner
from streams.log import Gap, Position, Record, Source

T = TypeVar("T")
log = structlog.get_logger(room="daemon.ingest")
MARK_STATE: Final = "join_mark"
"""The joiner's watermark: windows that it had passed stay closed after a restart."""


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What an ingest works with."""

    deployment: str
    store: Store
    source: Source
    join: JoinConfig
    make_watch: MakeWatch
    token_is_valid: TokenIsValid
    clock: Callable[[], float]
    metrics: Metrics
    tell_log: bool = True
    """Whether the log may be told how far we are (a write to Kafka); False in mode observe."""


class Ingest:
    """Owned by one thread; ``lock`` guards the memory that the controller also touches (watch, evidence)."""

    def __init__(self, ports: IngestPorts, max_records: int = 1000) -> None:
        self._ports, self._max_records = ports, max_records
        self.lock = threading.RLock()
        self.evidence: Evidence | None = None
        self._stored = StoredWatch(ports.store, ports.make_watch)
        self._joiner = Joiner(ports.join)
        self._next: dict[Position, int] = {}
        self._lag: Mapping[Position, int] = {}
        self._afresh: dict[str, str] = {}
        """States that did not load, and were begun afresh, with the fault; not yet in the ledger."""
        self._behind = False
        """A batch was read and not committed: the source stands beyond the store."""
        self._ahead = True
        """Memory may hold what the store lacks, or lack what it holds."""
        self._quarantine = Quarantine()

    def start(self) -> None:
        """Restore memory and seek the log. Raises LogUnavailable."""
        self._begin()
        settle()

    def _begin(self) -> None:
        """Memory and source as the store has them."""
        if self._ahead:
            self._restore()
        self._note_afresh(self._ports.clock())
        self._note_gaps(self._ports.source.start(self._next), self._ports.clock())
        self._behind = False

    def _note_afresh(self, now: float) -> None:
        """States of another version, or damaged ones, must not keep the daemon from starting, nor go unsaid."""
        if not self._afresh:
            return
        with self.lock, self._stored.storing() as tx:
            self._stored.put(tx, now)
            states.put(tx, MARK_STATE, repr(self._joiner.mark).encode(), now)
            for part, fault in self._afresh.items():
                name, data = self._ports.deployment, {"part": part, "fault": fault}
                ledger.append(tx, name, "state", part, "started_afresh", actor="daemon", at=now, data=data)
        for part in self._afresh:
            self._ports.metrics.states_afresh.labels(part=part).inc()
        self._afresh = {}

    def _note_gaps(self, gaps: Sequence[Gap], now: float) -> None:
        """What the source found on its way to where it begins."""
        if not gaps:
            return
        with self._ports.store.begin() as tx:
            passed = self._record_gaps(tx, gaps, now)
        self._next.update(passed)
        self._count_gaps(gaps)

    def _record_gaps(self, tx: Tx, gaps: Sequence[Gap], now: float) -> dict[Position, int]:
        """Offsets that retention took before we read them: recorded, counted, never silent (E4). Where we are after
        them is of the same transaction, so that no later start finds them again.
        """
        offsets.record_gaps(tx, gaps, now)
        for gap in gaps:
            data = {"topic": gap.topic, "partition": gap.partition, "expected": gap.expected, "found": gap.found}
            name = self._ports.deployment
            ledger.append(tx, name, "event_gap", name, "lost_to_retention", actor="daemon", at=now, data=data)
        return {(gap.topic, gap.partition): gap.found for gap in gaps}

    def _count_gaps(self, gaps: Sequence[Gap]) -> None:
        """For the alert; a log that was replaced by a younger one has lost nobody knows how many."""
        for gap in gaps:
            self._ports.metrics.gap_events.labels(topic=gap.topic).inc(max(1, gap.found - gap.expected))

    def step(self, timeout_s: float) -> int:
        """One batch; how many records it held. Raises LogUnavailable and whatever the store raises.

        After a batch that failed the next one begins where the store stands, so that nothing of it is lost.
        """
        if self._behind:
            self._begin()
        records = self._ports.source.poll(self._quarantine.most(self._max_records), timeout_s)
        self._behind = True
        gaps, now = self._ports.source.take_gaps(), self._ports.clock()
        failpoint("ingest.polled")
        with self.lock:
            try:
                with self._ports.store.begin() as tx:
                    self._ahead = True
                    moved = self._apply(tx, records, self._record_gaps(tx, gaps, now) if gaps else {}, now)
                    failpoint("ingest.before_commit")
            except BaseException as error:
                if isinstance(error, Exception):
                    self._quarantine.failed(records, error)
                if self._ahead:
                    self._restore()
                raise
            self._behind = self._ahead = False
        self._quarantine.passed(records)
        failpoint("ingest.after_commit")
        self._count_gaps(gaps)
        self._age(records, now)
        if moved:
            self._next.update(moved)
            self._ports.metrics.last_commit.set(now)
            if self._ports.tell_log:
                self._ports.source.acknowledge(moved)
        return len(records)

    def _age(self, records: Sequence[Record], now: float) -> None:
        """How old the oldest event is that waits: the newest one read tells, while records are left behind it."""
        for topic in {topic for topic, _ in self._lag}:
            age = 0.0
            if any(n for (name, _), n in self._lag.items() if name == topic):
                age = max(0.0, now - max((r.timestamp for r in records if r.topic == topic), default=now))
            self._ports.metrics.consumer_age.labels(topic=topic).set(age)

    def follow(self, row: rollouts.Rollout | None) -> None:
        """Count units for this rollout from now on (None: for none); nothing happens when it is counted already."""
        if row is not None and self.evidence is not None and self.evidence.rollout == row.id:
            return
        with self.lock, self._ports.store.read() as read:
            self.evidence = None if row is None else restore(read, row)

    def observed(self) -> Observed | None:
        """What the committed units of the followed rollout say; None when none is followed.

        Waits for the batch in progress: a verdict must not rest on units that a crash would take back.
        """
        with self.lock:
            return None if self.evidence is None else self.evidence.observed()

    @property
    def watch(self) -> Watching:
        """The monitors as they are now."""
        return self._stored.watch

    def rebase(self, now: float, reason: str, cause: str) -> None:
        """After a promotion: what serves now is the new normal. ``cause`` is its rollout."""
        with self.lock:
            self._stored.rebase(now, reason, cause)

    def rebased_for(self) -> str | None:
        """The cause of the newest ``rebase``; None before the first."""
        return self._stored.rebased_for()

    def rate(self, version: str | None) -> None:
        """Show the watch rewards of this version alone from now on: what stands in for it, or is compared with it, says
        nothing of it. None: whoever answers counts.
        """
        if version != self._stored.rated:
            with self.lock:
                self._stored.rate(version, self._ports.clock())

    def newest_slice(self) -> SliceModel | None:
        """The slice of the standing alarm as the traffic since its onset shows it; None without one."""
        with self.lock:
            return self.watch.slice_now()

    def lag(self) -> Mapping[Position, int]:
        """Records between us and the end of each partition, as of the newest batch."""
        return dict(self._lag)

    def close(self) -> None:
        """Release the log; idempotent."""
        self._ports.source.close()

    def _restore(self) -> None:
        with self.lock, self._ports.store.read() as read:
            now = self._ports.clock()
            self._next = offsets.get_all(read)
            self._stored.restore(read, lambda load, afresh: self._loaded("watch", load, afresh))
            row = rollouts.active(read, self._ports.deployment)
            self.evidence = None if row is None else restore(read, row)
            self._joiner = self._restored_joiner(read, now)
        self._ahead = False

    def _loaded(self, part: str, load: Callable[[], T], afresh: Callable[[], T]) -> T:
        """A stored state, or a new one where it does not load, whatever the fault: events must go on being read."""
        try:
            return load()
        except Exception as error:
            log.warning("state_started_afresh", part=part, error=repr(error), exc_info=True)
            self._afresh[part] = type(error).__name__
            return afresh()

    def _restored_joiner(self, read: Read, now: float) -> Joiner:
        join, name = self._ports.join, self._ports.deployment
        joiner = Joiner(join)
        stored = states.get(read, MARK_STATE)
        mark = self._loaded("join_mark", lambda: float(stored or b"-inf"), lambda: float("-inf"))
        # From the mark on, not from now: after a long outage the feedback that is still to be read belongs to those.
        since = (mark if stored is not None else now) - 2 * (join.window_s + join.lateness_s)
        joiner.restore(
            exchanges.since(read, name, since, float("inf"), join.max_open),
            feedback.since(read, name, since, float("inf"), join.max_remembered),
            mark,
        )
        return joiner

    def _apply(
        self, tx: Tx, records: Sequence[Record], passed: Mapping[Position, int], now: float
    ) -> Mapping[Position, int]:
        """Everything that a batch changes; where we are behind it. ``passed``: where its gaps end."""
        batch = Batch()
        ports = self._ports
        decoded = take(records, batch, ports.deployment, ports.token_is_valid, self._quarantine, now)
        fresh_exchanges, fresh_feedback, first = insert_new(tx, decoded)
        for item in decoded:
            event = item.event
            if isinstance(event, Exchange):
                if event.exchange_id not in fresh_exchanges:
                    batch.counts["duplicates"] += 1
                    continue
                fresh_exchanges.discard(event.exchange_id)
                self._exchange(event, event.exchange_id in first, batch)
            elif event.feedback_id not in fresh_feedback:
                batch.counts["duplicates"] += 1
                continue
            else:
                fresh_feedback.discard(event.feedback_id)
                batch.counts["feedback"] += 1
            self._found(self._joiner.observe(event, now, item.origin), batch)
        self._lag = self._ports.source.lag()
        self._found(self._joiner.advance(now, self._lag), batch)
        if self.evidence is not None:
            # While records are left to read, a unit's feedback may be among them: time goes as far as was read.
            behind = any(self._lag.values())
            batch.ticks.append(mature(tx, self.evidence, min(now, self._joiner.mark) if behind else now))
        return self._commit(tx, records, passed, batch, now)

    def _exchange(self, exchange: Exchange, first: bool, batch: Batch) -> None:
        batch.counts["exchanges"] += 1
        batch.alarms += self.watch.observe_exchange(exchange)
        if self.evidence is not None:
            batch.ticks.append(self.evidence.observe_exchange(exchange, first))

    def _found(self, findings: Sequence[Finding], batch: Batch) -> None:
        for finding in findings:
            match finding:
                case Joined():
                    self._joined(finding, batch)
                case Orphan():
                    batch.counts["orphans"] += 1
                    batch.letters.append(letter(finding.feedback, finding.origin, Reason.ORPHAN))
                case Refused():
                    batch.letters.append(letter(finding.feedback, finding.origin, finding.reason))
                case Late():
                    batch.counts["late"] += 1
                case Unlabelled():
                    batch.counts["unlabelled"] += 1
                case Closed():
                    batch.counts["labelled"] += 1
                case _:
                    pass

    def _joined(self, joined: Joined, batch: Batch) -> None:
        if not joined.revision:
            batch.counts["joined"] += 1
        found = rated(joined)
        if found is None:
            return
        reward, sent_at = found
        of_another = self._stored.rated is not None and joined.exchange.version != self._stored.rated
        if of_another and joined.exchange.usual_version:
            batch.counts["rewards_of_other_versions"] += 1
        elif not joined.revision:
            batch.alarms += self.watch.observe_reward(joined.exchange, reward, sent_at, corrected(joined))
        if self.evidence is not None:
            batch.ticks.append(self.evidence.observe_reward(joined.exchange, reward, sent_at))

    def _commit(
        self, tx: Tx, records: Sequence[Record], passed: Mapping[Position, int], batch: Batch, now: float
    ) -> Mapping[Position, int]:
        moved: dict[Position, int] = {}
        for record in records:
            moved[record.topic, record.partition] = record.offset + 1
        for position, offset in passed.items():
            moved[position] = max(moved.get(position, 0), offset)
        dead_letters.insert_new(tx, batch.letters)
        batch.counts["dead_letters"] += len(batch.letters)
        if self.evidence is not None:
            store_tick(tx, self.evidence.rollout, batch.ticks)
        store_alarms(tx, batch.alarms, now)
        if moved:
            self._stored.put(tx, now)
            offsets.put(tx, moved)
            states.put(tx, MARK_STATE, repr(self._joiner.mark).encode(), now)
        counters.add(tx, {name: n for name, n in batch.counts.items() if n})
        measure(batch, self._ports.metrics)
        return moved
