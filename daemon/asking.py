"""The shell of label requests: opens them, counts what comes, ends them; each step has its entry in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from daemon import ledger
from daemon.config import Config
from daemon.label_requests import OUT_OF_REACH, LabelRequest, Verdict, load, looked_at, save, with_new
from daemon.labels import Labels, is_label, is_rating
from daemon.store import Read, Store, Tx, alarms, cycles, rollouts, suspended
from deploy.rollout import Phase
from monitors.alarms import AlarmKind, SliceModel
from monitors.answers import KEPT
from monitors.metrics import Metrics


class Asking:
    """One thread: the controller's. Memory holds counts alone, and is made anew from the store."""

    def __init__(self, store: Store, config: Config, clock: Callable[[], float], metrics: Metrics) -> None:
        self._store, self._config, self._clock, self._metrics = store, config, clock, metrics
        self._name = config.deployment.name
        self._counting: dict[str, tuple[Labels, SliceModel | None]] = {}
        """Of the open requests."""

    def for_alarm(self, alarm: alarms.AlarmRow) -> None:
        """The policy asks: for what a cycle would train on, or for what tells the cause of changed feedback."""
        now, verdict, needed = self._clock(), _FOR.get(alarm.kind, "training"), KEPT
        if verdict == "training":
            inside = SliceModel.stored(alarm.body.get("slice"))
            labels = Labels(self._store, self._name)
            labels.count(inside, alarm.at - self._config.cycle.history_s, now)
            with self._store.read() as read:
                needed = max(self._config.cycle.min_labels - len(labels.found - suspended.all_ids(read)), 0)
        with self._store.begin() as tx:
            self._open(tx, alarm.alarm_id, None, verdict, needed, alarm.body.get("slice"), now)

    def for_cycle(self, tx: Tx, cycle: cycles.Cycle, verdict: Verdict, needed: int | None) -> None:
        """A cycle that ended for want of labels asks; ``needed`` None: labels cannot help, which is recorded."""
        now = self._clock()
        if needed is None:
            data = {"alarm": cycle.cause, "cycle": cycle.id, "verdict": verdict}
            ledger.append(tx, self._name, "labels", cycle.id, OUT_OF_REACH, actor="daemon", at=now, data=data)
            return
        self._open(tx, cycle.cause, cycle.id, verdict, needed, cycle.data.get("slice"), now)

    def tick(self) -> None:
        """Count what came for the open requests, and end those that are over."""
        now = self._clock()
        with self._store.read() as read:
            known = load(read)
            if not any(r.open for r in known):
                self._counting = {}
                self._metrics.labels_wanted.set(0)
                return
            promoted_at = _promoted_at(read, self._name)
        after = [looked_at(r, self._got(r, now), promoted_at, now) if r.open else r for r in known]
        self._metrics.labels_wanted.set(sum(r.left for r in after))
        self._counting = {r.id: self._counting[r.id] for r in after if r.open and r.id in self._counting}
        if after == known:
            return
        with self._store.begin() as tx:
            save(tx, after, now)
            for request in after:
                if not request.open and request not in known:
                    self._record(tx, request, request.end, now)

    def _got(self, request: LabelRequest, now: float) -> int:
        """Labels that came since it was asked, counted as they come."""
        if request.id not in self._counting:
            with self._store.read() as read:
                inside = slice_of(read, request)
            if request.verdict == "training":
                labels = Labels(self._store, self._name, is_label)
            else:  # a late rating trains, but no monitor and no rollout counts it
                labels = Labels(self._store, self._name, is_rating, self._config.join.window_s)
            self._counting[request.id] = labels, inside
        labels, inside = self._counting[request.id]
        return labels.count(inside, request.asked_at, now)

    def _open(
        self, tx: Tx, alarm: str, cycle: str | None, verdict: Verdict, needed: int, about: object, now: float
    ) -> None:
        inside = SliceModel.stored(about)
        deadline = now + self._config.labels.deadline_s
        key = "\x1f".join((alarm, str(cycle), verdict, repr(now)))
        name = f"labels-{sha256(key.encode()).hexdigest()[:10]}"
        digest = None if inside is None else inside.digest
        asked = LabelRequest(name, alarm, cycle, verdict, needed, now, deadline, digest)
        before = load(tx)
        after = with_new(before, asked)
        for request in after:
            if not request.open and request not in before:
                self._record(tx, request, request.end, now)
        self._record(tx, asked, "labels_asked", now)
        save(tx, after, now)

    def _record(self, tx: Tx, request: LabelRequest, reason: str, now: float) -> None:
        data: dict[str, Any] = {
            "alarm": request.alarm,
            "cycle": request.cycle,
            "slice": request.slice,
            "verdict": request.verdict,
            "needed": request.needed,
            "got": request.got,
            "deadline": request.deadline,
        }
        ledger.append(tx, self._name, "labels", request.id, reason, actor="daemon", at=now, data=data)


_FOR: Final[Mapping[str, Verdict]] = {AlarmKind.FEEDBACK.value: "cause"}


def slice_of(read: Read, request: LabelRequest) -> SliceModel | None:
    """The slice that a request is about: its cycle's, else its alarm's; None: any exchange."""
    if request.slice is None:
        return None
    cycle = None if request.cycle is None else cycles.get(read, request.cycle)
    if cycle is not None:
        return SliceModel.stored(cycle.data.get("slice"))
    alarm = alarms.get(read, request.alarm)
    return None if alarm is None else SliceModel.stored(alarm.body.get("slice"))


def _promoted_at(read: Read, deployment: str) -> float | None:
    newest = rollouts.newest(read, deployment, 20)
    return max((r.ended_at or 0.0 for r in newest if r.phase == Phase.PROMOTED.value), default=None)
