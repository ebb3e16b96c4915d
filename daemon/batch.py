"""What one batch of the ingest makes: letters, alarms, units, counts; how they are stored, and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from daemon import ledger
from daemon.store import alarms
from daemon.store.open import Tx
from deploy.evidence import Tick
from deploy.processes import Path as EvidencePath
from monitors.alarms import Alarm
from monitors.metrics import Metrics
from streams.codec import Origin, encode_feedback
from streams.dead_letters import Reason, payload
from streams.events import DeadLetter, Feedback


@dataclass(slots=True)
class Batch:
    """What one batch makes."""

    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    alarms: list[Alarm] = field(default_factory=list[Alarm])
    ticks: list[Tick] = field(default_factory=list[Tick])
    counts: Counter[str] = field(default_factory=Counter[str])


def store_alarms(tx: Tx, found: Sequence[Alarm], now: float) -> None:
    """Every finding as a row; those of primary detectors as decisions of the ledger, too."""
    rows = [
        alarms.AlarmRow(
            a.alarm_id,
            a.deployment,
            a.kind.value,
            a.detector,
            a.primary,
            a.confirmed,
            a.at,
            a.model_dump(mode="json"),
        )
        for a in found
    ]
    fresh = alarms.insert_new(tx, rows)
    for alarm in found:
        if alarm.alarm_id not in fresh or not alarm.primary:
            continue  # informers speak often and decide nothing: they are stored, not decisions of the ledger
        numbers = {k: v for k, v in alarm.evidence.items() if isinstance(v, (int, float))}
        reason = "confirmed" if alarm.acts else "suspected"
        kind = f"alarm_{alarm.kind.value}"
        ledger.append(tx, alarm.deployment, kind, alarm.alarm_id, reason, actor=alarm.detector, at=now, data=numbers)


def measure(batch: Batch, found: Metrics) -> None:
    """Counters for Prometheus; a batch that fails after this is counted again, which rates can bear."""
    for name in ("exchanges", "feedback"):
        found.events.labels(topic=name).inc(batch.counts[name])
    for name in ("joined", "late", "orphans", "unlabelled"):
        found.joined.labels(outcome=name).inc(batch.counts[name])
    for event in (e for tick in batch.ticks for e in tick.events if e.path is EvidencePath.ASSIGNED):
        found.units.labels(arm="canary" if event.canary else "control").inc()
    for letter in batch.letters:
        found.dead_letters.labels(reason=letter.reason).inc()
    for alarm in batch.alarms:
        state = "confirmed" if alarm.confirmed else "informed"
        found.alarms.labels(kind=alarm.kind.value, detector=alarm.detector, state=state).inc()


def letter(feedback: Feedback, origin: Origin, reason: Reason) -> DeadLetter:
    """The dead letter of a feedback that was decoded but met no exchange it could belong to."""
    topic, offset = origin.topic, origin.offset
    if not topic:  # it waited through a restart, which forgets where it lay: its id gives it a place of its own
        topic, offset = "restored", int.from_bytes(sha256(feedback.feedback_id.encode()).digest()[:6], "big")
    return DeadLetter(
        reason=reason.value,
        detail=f"feedback {feedback.feedback_id} on exchange {feedback.exchange_id}",
        topic=topic,
        partition=origin.partition,
        offset=offset,
        payload_b64=payload(encode_feedback(feedback, "homeostat")),
        at=feedback.sent_at,
    )
