# pyright: standard
"""Appending to Kafka: a bounded queue per topic, one thread that feeds an idempotent producer.

callers --append--> queue --thread--> producer's batches --acks=all--> broker <------------ outstanding[topic] <=
queue_max ------------->

Invariant: ``outstanding`` counts what is queued or sent and not acknowledged; only a broker's acknowledgement or a
counted drop lowers it. The producer retries by itself while a broker is away, with sequence numbers, so nothing is
doubled. A topic that does not exist holds up no other: its queue waits alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RetriableError,  # pyright: ignore[reportAttributeAccessIssue]  # newer than the stubs
)

from streams.config import LogConfig
from streams.errors import LogMisconfigured, LogUnavailable
from streams.kafka_client import client_options, reachable, require_broker, translate

DELIVERY_TIMEOUT_MS: Final = 3_600_000
"""An outage longer than an hour gives up what was handed to the producer, counted; the queue is bounded all along."""
RETRY_S: Final = 1.0
ENVELOPE_BYTES: Final = 16 * 1024

_Item = tuple[str | None, bytes]


class KafkaSink:
    """Appends events; ``append`` may be called from any thread and never waits."""

    def __init__(
        self, config: LogConfig, *, required: bool = True, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``required``: raise LogUnavailable when no broker answers, instead of connecting when one does.

        Raises LogMisconfigured.
        """
        self._config = config
        self._options = client_options(config)
        self._monotonic = monotonic
        self._producer: KafkaProducer | None = None
        self._queues: dict[str, deque[_Item]] = {}
        self._outstanding: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._dropped = 0
        self._failures = 0
        self._closing = False
        self._changed = threading.Condition()
        if required:
            require_broker(config)
            try:
                self._producer = self._connect()
            except KafkaError as error:
                raise translate(config, error) from error
        self._thread = threading.Thread(target=self._run, name="kafka-log-writer", daemon=True)
        self._thread.start()

    def append(self, topic: str, key: str | None, value: bytes) -> bool:
        """Queue one event; False when it was dropped: queue full, event too large, or sink closed."""
        with self._changed:
            outstanding = self._outstanding.get(topic, 0)
            if self._closing or outstanding >= self._config.queue_max or len(value) > self._config.max_event_bytes:
                self._dropped += 1
                return False
            self._outstanding[topic] = outstanding + 1
            queue = self._queues.setdefault(topic, deque())
            queue.append((key, value))
            if len(queue) == 1:
                self._changed.notify_all()
            return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until brokers acknowledged everything queued; False when time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not any(self._outstanding.values()), timeout_s)

    @property
    def dropped(self) -> int:
        """Events dropped since the start: queue full, too large, or given up by the producer."""
        return self._dropped

    @property
    def failures(self) -> int:
        """Attempts to connect or to send that failed and were tried again."""
        return self._failures

    @property
    def queued(self) -> int:
        """Events that no broker has acknowledged yet."""
        return sum(self._outstanding.values())

    def close(self) -> None:
        """Deliver for up to 5 s, then let go; idempotent. What is left then is counted as dropped."""
        with self._changed:
            if self._closing:
                return
        self.flush(5.0)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=10.0)
        if self._producer is not None:
            self._producer.close(timeout=2.0)
        with self._changed:
            self._dropped += sum(self._outstanding.values())
            self._outstanding.clear()

    def _connect(self) -> KafkaProducer:
        return KafkaProducer(
            **self._options,
            acks="all",
            metrics_enabled=False,
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=min(self._config.flush_ms, 20),
            batch_size=128 * 1024,
            max_request_size=self._config.max_event_bytes + ENVELOPE_BYTES,
            max_block_ms=500,  # in our thread: then the other topics have their turn
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            request_timeout_ms=10_000,
            allow_auto_create_topics=False,
        )

    def _run(self) -> None:
        while (topic := self._next_topic()) is not None:
            producer = self._producer or self._try_connect()
            if producer is None:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, RETRY_S)
                continue
            self._send_some(producer, topic)

    def _try_connect(self) -> KafkaProducer | None:
        try:
            if reachable(self._config, 1.0):
                self._producer = self._connect()
                return self._producer
        except (KafkaError, LogUnavailable, LogMisconfigured):
            pass
        self._failures += 1
        return None

    def _next_topic(self) -> str | None:
        """Wait for a topic that has events and is not waiting out a failure; None when closed."""
        with self._changed:
            while not self._closing:
                now = self._monotonic()
                waiting = [topic for topic, queue in self._queues.items() if queue]
                ready = [topic for topic in waiting if self._retry_at.get(topic, 0.0) <= now]
                if ready:
                    return ready[0]
                self._changed.wait(RETRY_S / 4 if waiting else None)
            return None

    def _send_some(self, producer: KafkaProducer, topic: str) -> None:
        queue = self._queues[topic]
        for _ in range(min(len(queue), 500)):
            key, value = queue[0]
            try:
                future: Any = producer.send(
                    topic, value=value, key=key.encode("utf-8", "replace") if key is not None else None
                )
            except MessageSizeTooLargeError:
                queue.popleft()
                self._settle(topic, lost=True)
            except KafkaError as error:  # no metadata, buffer full: the event stays first in its queue
                self._failures += 1
                if not isinstance(error, RetriableError):
                    self._start_over(producer)
                self._retry_at[topic] = self._monotonic() + RETRY_S
                return
            else:
                queue.popleft()
                future.add_both(lambda result, topic=topic: self._settle(topic, lost=isinstance(result, Exception)))

    def _start_over(self, producer: KafkaProducer) -> None:
        """A producer that lost its identity (its broker was made anew) never sends again: make another one."""
        self._producer = None
        producer.close(timeout=0.0)

    def _settle(self, topic: str, *, lost: bool) -> None:
        with self._changed:
            self._outstanding[topic] = max(0, self._outstanding.get(topic, 0) - 1)
            self._dropped += lost
            if not self._outstanding[topic]:
                self._changed.notify_all()
