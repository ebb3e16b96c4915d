"""Recorded events as a log: the port that the ingest reads, in the order in which they happened.

An exchange lies where it was completed, a feedback where it was sent. Each poll gives one slice and moves ``now`` to
its last event: that is the clock of the replay.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from daemon.store import Store, exchanges, feedback
from streams.codec import encode_exchange, encode_feedback
from streams.events import Feedback, FeedbackKind
from streams.log import Gap, Position, Record

TOPIC: Final = "recorded"
_NAME: Final = "homeostat/backtest"
_WINDOW_S: Final = 3600.0
"""Seconds of event time that are held in memory at once."""
_ALL: Final = 2**31
TOKEN: Final = "recorded"
"""Stands for the tokens, which are not stored: the daemon checked them before it stored what they vouch for."""


@dataclass(slots=True)
class Counted:
    """What was replayed, and what retention had emptied."""

    exchanges: int = 0
    feedback: int = 0
    exchanges_without_text: int = 0
    """Replayed, but without a prompt: no detector of prompts and no buffer sees them."""
    feedback_without_text: int = 0
    """Left out: a correction or preference without its text says nothing."""


@dataclass(slots=True)
class RecordedSource:
    """Implements ``streams.log.Source`` over [from_s, until_s)."""

    store: Store
    deployment: str
    from_s: float
    until_s: float
    most: int = 200
    """Records of a slice."""
    slice_s: float = 60.0
    """Seconds of event time of a slice, at most."""
    stop_at: float | None = None
    """No slice goes on to or past this second; None: each is as long as it may be."""
    counted: Counted = field(default_factory=Counted)
    now: float = 0.0
    _heap: list[tuple[float, str, bytes]] = field(default_factory=list[tuple[float, str, bytes]])
    _read_to: float = 0.0
    _offset: int = 0

    def __post_init__(self) -> None:
        self.now = self._read_to = self.from_s

    def start(self, next_offsets: Mapping[Position, int]) -> Sequence[Gap]:
        """It only goes forward: nothing to seek."""
        del next_offsets
        return ()

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """The next slice; empty at the end, where time goes on to the end of the window."""
        del timeout_s
        records: list[Record] = []
        while len(records) < min(self.most, max_records):
            at = self.next_at()
            if at is None or (records and at > records[0].timestamp + self.slice_s):
                break
            if records and self.stop_at is not None and at >= self.stop_at:
                break
            value = heapq.heappop(self._heap)[2]
            records.append(Record(TOPIC, 0, self._offset, None, value, at))
            self._offset += 1
        self.now = records[-1].timestamp if records else max(self.now, self.until_s)
        return records

    def take_gaps(self) -> Sequence[Gap]:
        """None is known: what is not in the store was never recorded."""
        return ()

    def acknowledge(self, next_offsets: Mapping[Position, int]) -> None:
        """Nobody waits for it."""

    def lag(self) -> Mapping[Position, int]:
        """A replay is never behind: time goes on as events come, as on the day."""
        return {}

    def close(self) -> None:
        """Nothing to release."""

    def next_at(self) -> float | None:
        """When the next event happened; None at the end."""
        while (not self._heap or self._heap[0][0] >= self._read_to) and self._read_to < self.until_s:
            self._read(self._read_to, min(self._read_to + _WINDOW_S, self.until_s))
        return self._heap[0][0] if self._heap and self._heap[0][0] < self.until_s else None

    def _read(self, from_s: float, until_s: float) -> None:
        with self.store.read() as read:
            came = exchanges.since(read, self.deployment, from_s, until_s, _ALL)
            said = feedback.since(read, self.deployment, from_s, until_s, _ALL)
        for exchange in came:
            self.counted.exchanges += 1
            self.counted.exchanges_without_text += not exchange.messages
            heapq.heappush(self._heap, (exchange.completed_at, exchange.exchange_id, encode_exchange(exchange, _NAME)))
        for one in said:
            if _emptied(one):
                self.counted.feedback_without_text += 1
                continue
            self.counted.feedback += 1
            heapq.heappush(self._heap, (one.sent_at, one.feedback_id, encode_feedback(one, _NAME, TOKEN)))
        self._read_to = until_s


def _emptied(one: Feedback) -> bool:
    """Whether retention took what this feedback says."""
    if one.kind is FeedbackKind.CORRECTION:
        return one.correction is None
    return one.kind is FeedbackKind.PREFERENCE and one.value is None
