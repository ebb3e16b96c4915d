"""Events on their way to the log, off the request path.

    request path --offer--> [ bounded queue ] --thread: parse, redact, encode--> Sink (its own bounded queue) --> log

Invariant: at most ``queue_max`` items and ``queue_max_bytes`` bytes wait; an item more is dropped and counted, and no
caller ever waits for the log.
"""

from __future__ import annotations

import logging
import threading
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
        self._bytes = 0
        self._dropped = 0
        self._ready = threading.Condition()
        self._closed = False
        self._busy = False
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
        """Queue one item; False when it was dropped because the queue is full or closed."""
        size = item.size if isinstance(item, Captured) else _FEEDBACK_BYTES
        with self._ready:
            full = len(self._queue) >= self._config.queue_max or self._bytes + size > self._config.queue_max_bytes
            if full or self._closed:
                self._drop("queue_full" if full else "closed")
                return False
            self._queue.append((item, size))
            self._bytes += size
            self._ready.notify()
            return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything offered so far is on the log; False when time ran out."""
        with self._ready:
            done = self._ready.wait_for(lambda: not self._queue and not self._busy, timeout_s)
        return self._sink.flush(timeout_s) and done

    def close(self, timeout_s: float = 3.0) -> None:
        """Write what waits, end the thread and close the sink; idempotent."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        self._thread.join(timeout_s)
        self._sink.close()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._busy = False
                self._ready.notify_all()
                self._ready.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                item, size = self._queue.popleft()
                self._bytes -= size
                self._busy = True
            try:
                self._write(item)
            except Exception:
                self._drop("unwritable")
                log.exception("an event could not be written; it is counted as dropped")

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
