"""Events on their way to the log, off the request path.

    request path --offer--> [ bounded queue ] --thread: parse, redact, encode--> Sink (its own bounded queue) --> log

Invariant: at most ``queue_max`` items and ``queue_max_bytes`` bytes wait; an item more is dropped and counted, and no
caller ever waits for the log. The thread takes what has gathered every ``GATHER_S``: waking it for each item would cost
the event loop a switch of the interpreter lock for each request, several times what the work itself costs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from deploy.gateway.config import CaptureConfig
from deploy.gateway.counters import Counters
from deploy.gateway.transcript import Captured, exchange_of
from streams.codec import encode_exchange, encode_feedback
from streams.config import Topics
from streams.events import Feedback
from streams.log import Sink
from streams.redact import redact_exchange, redact_feedback

log = logging.getLogger(__name__)
GATHER_S = 0.02
"""Seconds that items gather; beside the log's own 50 ms nobody notices."""
_FEEDBACK_BYTES = 1024


@dataclass(frozen=True, slots=True)
class GivenFeedback:
    """A verified feedback with the token that proves it, on its way to the log."""

    feedback: Feedback
    token: str | None


class Capture:
    """The bounded queue and its thread."""

    def __init__(self, config: CaptureConfig, topics: Topics, source: str, sink: Sink, counters: Counters) -> None:
        self._config = config
        self._topics = topics
        self._source = source
        self._sink = sink
        self._counters = counters
        self._queue: deque[tuple[Captured | GivenFeedback, int]] = deque()
        # Each number is written by one thread alone, so neither needs a lock.
        self._bytes_in = 0
        self._bytes_out = 0
        self._items_in = 0
        self._items_out = 0
        self._dropped = 0
        self._some = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="homeostat-capture", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items in the queue."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Events that did not reach the log since the start, whatever the reason."""
        return self._dropped + self._sink.dropped

    def offer(self, item: Captured | GivenFeedback) -> bool:
        """Queue one item; False when it was dropped because the queue is full or closed. For one thread: the event
        loop's.
        """
        size = item.size if isinstance(item, Captured) else _FEEDBACK_BYTES
        bytes_waiting = self._bytes_in - self._bytes_out
        full = len(self._queue) >= self._config.queue_max or bytes_waiting + size > self._config.queue_max_bytes
        if full or self._closed.is_set():
            self._drop("queue_full" if full else "closed")
            return False
        self._bytes_in += size
        self._items_in += 1
        self._queue.append((item, size))
        if not self._some.is_set():
            self._some.set()
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything offered so far is on the log; False when time ran out."""
        goal, until = self._items_in, time.monotonic() + timeout_s
        while self._items_out < goal and time.monotonic() < until:
            time.sleep(GATHER_S / 4)
        return self._items_out >= goal and self._sink.flush(max(0.0, until - time.monotonic()))

    def close(self, timeout_s: float = 3.0) -> None:
        """Write what waits, end the thread and close the sink; idempotent."""
        self._closed.set()
        self._some.set()
        self._thread.join(timeout_s)
        self._sink.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._some.wait()
            self._closed.wait(GATHER_S)
            self._some.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._queue:
            item, size = self._queue.popleft()
            try:
                self._write(item)
            except Exception:
                self._drop("unwritable")
                log.exception("an event could not be written; it is counted as dropped")
            self._bytes_out += size
            self._items_out += 1

    def _write(self, item: Captured | GivenFeedback) -> None:
        if isinstance(item, Captured):
            exchange, _ = redact_exchange(exchange_of(item))
            value = encode_exchange(exchange, self._source)
            topic, key = self._topics.traffic, exchange.session
        else:
            feedback, _ = redact_feedback(item.feedback)
            value = encode_feedback(feedback, self._source, item.token)
            topic, key = self._topics.feedback, feedback.session or feedback.exchange_id
        if not self._sink.append(topic, key, value):
            self._counters.dropped.labels("log_full").inc()

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        self._counters.dropped.labels(reason).inc()
