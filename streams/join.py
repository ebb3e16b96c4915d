"""Exchanges meet their feedback, in memory, without I/O and without a clock.

Three promises. (1) Bounded: open exchanges, waiting feedback and remembered ids each have a limit, and what is pushed
out is reported. (2) Redelivery changes nothing: an event that was seen before yields ``Duplicate`` and no other
finding. (3) The final ``Closed`` and ``Unlabelled`` findings depend on what was sent and when, not on the order of
arrival, as long as no event is later than ``lateness_s`` behind its partition's newest: an exchange is closed only when
the watermark has passed ``completed_at + window_s``, whether a feedback counts is decided by its own ``sent_at``, and
among several of one kind the one that counts is a maximum (``verdicts.rank``), which no order changes. ``Joined``
findings tell of each change at once, in order of arrival, for whoever must react before the window is over.

Duplicates older than what is remembered are the store's to refuse: its keys are the events' ids.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple

from streams.codec import Origin
from streams.config import JoinConfig
from streams.dead_letters import Reason
from streams.events import Exchange, Feedback, FeedbackKind, Trust
from streams.findings import Closed, Duplicate, Finding, Joined, Late, Orphan, Refused, Superseded, Unlabelled
from streams.log import Position
from streams.verdicts import contradiction, in_order, rank
from streams.watermark import Watermark

LOCAL: Final = Origin("", 0, 0)
"""Origin of events that come from no log (tests, replay of the store)."""

_SLACK: Final = 1_000
"""Deadlines kept beyond twice the waiting feedback before the heap is cleaned."""


class _Facts(NamedTuple):
    """What is remembered of an exchange after its window: enough to check a late feedback against it."""

    deployment: str
    tenant: str
    session: str
    identity: str
    completed_at: float


@dataclass(slots=True)
class _Open:
    exchange: Exchange
    facts: _Facts
    counted: dict[FeedbackKind, Feedback] = field(default_factory=dict[FeedbackKind, Feedback])


@dataclass(slots=True)
class _Pending:
    feedback: Feedback
    origin: Origin


@dataclass(slots=True)
class JoinState:
    """All that the joiner knows. Open windows are closed in the order of (completed_at, exchange_id)."""

    watermark: Watermark
    open: dict[str, _Open] = field(default_factory=dict[str, _Open])
    closing: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    closed: OrderedDict[str, _Facts] = field(default_factory=OrderedDict[str, _Facts])
    pending: dict[str, list[_Pending]] = field(default_factory=dict[str, list[_Pending]])
    expiring: list[tuple[float, int, str, str]] = field(default_factory=list[tuple[float, int, str, str]])
    """(deadline, tie breaker, exchange id, feedback id) of pending feedback; entries of joined ones are skipped."""
    bare: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict[tuple[str, str], None])
    """Pending bare feedback, oldest first: the first to go when room is short."""
    pending_count: int = 0
    seen: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict[tuple[str, str], None])
    """(exchange id, feedback id): ids are the client's words, so one exchange's must not shadow another's."""


class Joiner:
    """Feed it events and time, it gives findings. Owned by one thread."""

    def __init__(self, config: JoinConfig) -> None:
        self._config = config
        self.state = JoinState(Watermark(config.lateness_s, config.idle_s))
        self._tie = count()

    def observe(self, event: Exchange | Feedback, now: float, origin: Origin = LOCAL) -> list[Finding]:
        """Take one event in; ``now`` is wall time. Returns what it changed, in order.

        Windows are closed by ``advance`` alone: call it after each batch.
        """
        position = (origin[0], origin[1])
        if isinstance(event, Exchange):
            self.state.watermark.saw(position, event.completed_at, now)
            return self._exchange(event)
        self.state.watermark.saw(position, event.sent_at, now)
        return self._feedback(event, origin)

    def advance(self, now: float, lag: Mapping[Position, int] | None = None) -> list[Finding]:
        """Let time pass: close windows, give up on orphans. ``lag`` is the source's: what is left to read per
        partition."""
        state = self.state
        if lag is not None:
            state.watermark.expect(lag, now)
        mark = state.watermark.advance(now)
        findings: list[Finding] = []
        while state.closing and state.closing[0][0] + self._config.window_s < mark:
            findings.append(self._close(early=False))
        while state.expiring and state.expiring[0][0] < mark:
            _, _, exchange_id, feedback_id = heapq.heappop(state.expiring)
            gone = self._take_pending(exchange_id, feedback_id)
            if gone is not None:
                findings.append(Orphan(gone.feedback, gone.origin))
        return findings

    @property
    def mark(self) -> float:
        """The watermark after the last ``advance``: store it with the batch and give it back to ``restore``."""
        return self.state.watermark.value

    def restore(self, exchanges: Iterable[Exchange], feedbacks: Iterable[Feedback], mark: float) -> None:
        """Rebuild from stored rows after a restart, before the first ``observe``. What was told before is not told
        again.

        ``mark`` is the stored one: windows that it had passed stay closed. Give the exchanges and feedback (waiting
        ones too) whose time is within ``window_s`` of it at least; older ones lengthen the memory for late feedback and
        duplicates.
        """
        self.state.watermark.value = mark
        for exchange in exchanges:
            self._exchange(exchange)
        for feedback in feedbacks:
            if feedback.exchange_id in self.state.open or feedback.sent_at + self._config.window_s >= mark:
                self._feedback(feedback, LOCAL)
            else:
                self._remember(feedback)
        while self.state.closing and self.state.closing[0][0] + self._config.window_s < mark:
            self._close(early=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Open exchanges, pending feedback, remembered ids: for metrics."""
        state = self.state
        return {
            "open": len(state.open),
            "pending": state.pending_count,
            "remembered": len(state.closed) + len(state.seen),
        }

    # ------------------------------------------------------------------------------------------------- exchanges

    def _exchange(self, exchange: Exchange) -> list[Finding]:
        state, exchange_id = self.state, exchange.exchange_id
        if exchange_id in state.open or exchange_id in state.closed:
            return [Duplicate(exchange_id)]
        findings: list[Finding] = []
        if len(state.open) >= self._config.max_open:
            findings.append(self._close(early=True))
        facts = _Facts(exchange.deployment, exchange.tenant, exchange.session, exchange.identity, exchange.completed_at)
        opened = _Open(exchange, facts)
        state.open[exchange_id] = opened
        heapq.heappush(state.closing, (exchange.completed_at, exchange_id))
        for waiting in state.pending.pop(exchange_id, ()):
            state.pending_count -= 1
            state.bare.pop((exchange_id, waiting.feedback.feedback_id), None)
            findings.extend(self._meet(opened, waiting.feedback, waiting.origin))
        return findings

    def _close(self, *, early: bool) -> Finding:
        state = self.state
        _, exchange_id = heapq.heappop(state.closing)
        done = state.open.pop(exchange_id)
        state.closed[exchange_id] = done.facts
        if len(state.closed) > self._config.max_remembered:
            state.closed.popitem(last=False)
        if done.counted:
            return Closed(done.exchange, in_order(done.counted), early)
        return Unlabelled(done.exchange, early)

    # -------------------------------------------------------------------------------------------------- feedback

    def _feedback(self, feedback: Feedback, origin: Origin) -> list[Finding]:
        state, exchange_id = self.state, feedback.exchange_id
        if not self._remember(feedback):
            return [Duplicate(feedback.feedback_id)]
        opened = state.open.get(exchange_id)
        if opened is not None:
            return self._meet(opened, feedback, origin)
        facts = state.closed.get(exchange_id)
        if facts is not None:
            reason = contradiction(facts, feedback)
            return [Refused(feedback, origin, reason) if reason else Late(_attributed(feedback, facts))]
        return self._wait(feedback, origin)

    def _remember(self, feedback: Feedback) -> bool:
        """False when the feedback was seen before."""
        seen, key = self.state.seen, (feedback.exchange_id, feedback.feedback_id)
        if key in seen:
            return False
        seen[key] = None
        if len(seen) > self._config.max_remembered:
            seen.popitem(last=False)
        return True

    def _meet(self, opened: _Open, feedback: Feedback, origin: Origin) -> list[Finding]:
        facts = opened.facts
        reason = contradiction(facts, feedback)
        if reason is not None:
            return [Refused(feedback, origin, reason)]
        feedback = _attributed(feedback, facts)
        if abs(feedback.sent_at - facts.completed_at) > self._config.window_s:
            return [Late(feedback)]
        standing = opened.counted.get(feedback.kind)
        if standing is not None and rank(standing) >= rank(feedback):
            return [Superseded(feedback)]
        told_before = bool(opened.counted)
        opened.counted[feedback.kind] = feedback
        findings: list[Finding] = [] if standing is None else [Superseded(standing)]
        findings.append(Joined(opened.exchange, in_order(opened.counted), feedback, revision=told_before))
        return findings

    def _wait(self, feedback: Feedback, origin: Origin) -> list[Finding]:
        state, exchange_id = self.state, feedback.exchange_id
        findings: list[Finding] = []
        if state.pending_count >= self._config.max_pending:
            if not state.bare or feedback.trust is Trust.BARE:
                return [Refused(feedback, origin, Reason.PENDING_FULL)]
            oldest = self._take_pending(*next(iter(state.bare)))
            if oldest is not None:
                findings.append(Refused(oldest.feedback, oldest.origin, Reason.PENDING_FULL))
        state.pending.setdefault(exchange_id, []).append(_Pending(feedback, origin))
        state.pending_count += 1
        if feedback.trust is Trust.BARE:
            state.bare[(exchange_id, feedback.feedback_id)] = None
        deadline = feedback.sent_at + self._config.window_s
        heapq.heappush(state.expiring, (deadline, next(self._tie), exchange_id, feedback.feedback_id))
        if len(state.expiring) > 2 * state.pending_count + _SLACK:
            self._forget_joined_deadlines()
        return findings

    def _forget_joined_deadlines(self) -> None:
        """Drop deadlines of feedback that met its exchange; called when they are most, so its cost is shared."""
        state = self.state
        waiting = {(e, p.feedback.feedback_id) for e, pendings in state.pending.items() for p in pendings}
        state.expiring = [entry for entry in state.expiring if (entry[2], entry[3]) in waiting]
        heapq.heapify(state.expiring)

    def _take_pending(self, exchange_id: str, feedback_id: str) -> _Pending | None:
        state = self.state
        waiting = state.pending.get(exchange_id, [])
        found = next((p for p in waiting if p.feedback.feedback_id == feedback_id), None)
        if found is None:
            return None
        waiting.remove(found)
        if not waiting:
            del state.pending[exchange_id]
        state.pending_count -= 1
        state.bare.pop((exchange_id, feedback_id), None)
        return found


def _attributed(feedback: Feedback, facts: _Facts) -> Feedback:
    """The feedback with session and identity: from its token; a producer's word next; for the rest the exchange's own.

    Bare feedback always takes the exchange's: whoever sends it could write any name to get around the caps.
    """
    bare = feedback.trust is Trust.BARE
    session = facts.session if bare or feedback.session is None else feedback.session
    identity = facts.identity if bare or feedback.identity is None else feedback.identity
    if session == feedback.session and identity == feedback.identity:
        return feedback
    return feedback.model_copy(update={"session": session, "identity": identity})
