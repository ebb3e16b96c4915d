# pyright: standard
"""Reading Kafka from the caller's positions, with manual assignment: no group to wait for after a crash.

Errors that pass by themselves (a broker that restarts, a leader that moves) are counted and give an empty poll;
kafka-python reconnects by itself. Only what a person must mend is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    LogTruncationError,  # pyright: ignore[reportAttributeAccessIssue]  # newer than the stubs
    OffsetOutOfRangeError,
)
from kafka.structs import OffsetAndMetadata, TopicPartition

from streams.alignment import Alignment
from streams.config import LogConfig
from streams.kafka_client import client_options, missing, require_broker, translate
from streams.log import Gap, Position, Record

MIN_POLL_S: Final = 0.5
"""kafka-python gets no metadata in polls that are much shorter; records that are there return at once all the same."""
GROWTH_CHECK_S: Final = 1.0
FETCH_BYTES: Final = 512 * 1024
"""Per partition and fetch: small, so that partitions take turns instead of one being drained first."""


class KafkaSource:
    """Reads the traffic and feedback topics. One thread uses it."""

    def __init__(
        self, config: LogConfig, monotonic: Callable[[], float] = time.monotonic, *, acknowledges: bool = True
    ) -> None:
        """Keeps the options; ``start`` connects."""
        self._config = config
        # A consumer with a group looks for its coordinator, and to be asked for one makes a broker create the topic
        # __consumer_offsets: whoever must write nothing has no group.
        self._group = config.group if acknowledges else None
        self._monotonic = monotonic
        self._consumer: Any = None  # KafkaConsumer; the stubs are behind the release
        self._next: dict[Position, int] = {}
        self._ends: dict[Position, int] = {}
        self._gaps: list[Gap] = []
        self._checked_at = 0.0
        self._alignment = Alignment(config.align_s)
        self._paused: frozenset[Position] = frozenset()
        self.errors = 0
        """Passing errors since the start."""

    def start(self, next_offsets: Mapping[Position, int]) -> Sequence[Gap]:
        """Connect and go to the caller's positions; an absent one means the first record that is kept.

        Raises LogUnavailable when no broker answers or refuses us, TopicMissing.
        """
        self.close()
        require_broker(self._config)
        try:
            self._consumer = KafkaConsumer(
                **client_options(self._config),
                group_id=self._group,
                metrics_enabled=False,
                enable_auto_commit=False,
                auto_offset_reset="none",  # pyright: ignore[reportArgumentType]  # what to do about lost offsets is decided here, never silently
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=FETCH_BYTES,
            )
            places = self._partitions()
            absent = sorted(set(self._config.topics.read) - {topic for topic, _ in places})
            if absent:
                raise missing(self._config, absent)
            self._next = {place: next_offsets.get(place, -1) for place in places}
            self._place(places)
        except KafkaError as error:
            raise translate(self._config, error) from error
        return self.take_gaps()

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to ``max_records``; on an idle log returns after ``timeout_s`` or 0.5 s, whichever is longer.

        Raises LogUnavailable when the broker refuses us.
        """
        consumer = self._started()
        try:
            self._adopt_new_partitions()
            batches = consumer.poll(timeout_ms=int(max(timeout_s, MIN_POLL_S) * 1000), max_records=max_records)
        except (OffsetOutOfRangeError, LogTruncationError):
            self._recover_positions()
            return []
        except AuthorizationError as error:
            raise translate(self._config, error) from error
        except KafkaError:
            self.errors += 1
            return []
        records: list[Record] = []
        now = self._monotonic()
        for place, batch in batches.items():
            position = (place.topic, place.partition)
            records.extend(_record(position, message) for message in batch)
            self._next[position] = batch[-1].offset + 1
            self._alignment.read(position, batch[-1].timestamp / 1000, now)
        self._align(now)
        return records

    def take_gaps(self) -> Sequence[Gap]:
        """Losses found since the last call: records that retention took before they were read, or a recreated topic."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def acknowledge(self, next_offsets: Mapping[Position, int]) -> None:
        """Commit positions to the group, if there is one, for dashboards; failures are counted."""
        offsets = {TopicPartition(*place): OffsetAndMetadata(at, "", -1) for place, at in next_offsets.items()}
        if offsets and self._group is not None:
            try:
                self._started().commit_async(offsets, callback=self._acknowledged)
            except KafkaError:
                self.errors += 1

    def lag(self) -> Mapping[Position, int]:
        """Records left to read per partition, as of the newest fetch."""
        consumer = self._started()
        lags: dict[Position, int] = {}
        for place, at in self._next.items():
            end = max(consumer.highwater(TopicPartition(*place)) or 0, self._ends.get(place, 0))
            lags[place] = max(0, end - max(0, at))
            if 0 < lags[place] <= 2:
                # Transaction markers take offsets but are no records: ask the client how far it really is.
                lags[place] = max(0, end - (consumer.position(TopicPartition(*place), timeout_ms=0) or at))
        return lags

    def close(self) -> None:
        """Disconnect; idempotent."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=2000)

    def _started(self) -> Any:
        if self._consumer is None:
            raise RuntimeError("KafkaSource: start() comes first")
        return self._consumer

    def _acknowledged(self, offsets: object, response: object) -> None:
        if isinstance(response, Exception):
            self.errors += 1

    def _partitions(self) -> list[Position]:
        consumer = self._started()
        return [(topic, part) for topic in self._config.topics.read for part in consumer.partitions_for_topic(topic)]

    def _adopt_new_partitions(self) -> None:
        now = self._monotonic()
        if now - self._checked_at < GROWTH_CHECK_S:
            return
        self._checked_at = now
        new = [place for place in self._partitions() if place not in self._next]
        if new:
            self._next |= dict.fromkeys(new, -1)
            self._place(new)

    def _recover_positions(self) -> None:
        try:
            self._place(list(self._next))
        except KafkaError:
            self.errors += 1

    def _place(self, places: list[Position]) -> None:
        """Assign everything known and seek ``places``, recording a gap for each position that is not on the log."""
        consumer = self._started()
        consumer.assign([TopicPartition(*place) for place in sorted(self._next)])
        wanted = [TopicPartition(*place) for place in places]
        timeout_ms = int(self._config.start_timeout_s * 1000)
        lows = consumer.beginning_offsets(wanted, timeout_ms=timeout_ms)
        ends = consumer.end_offsets(wanted, timeout_ms=timeout_ms)
        for place in places:
            low, end, at = lows[TopicPartition(*place)], ends[TopicPartition(*place)], self._next[place]
            self._ends[place] = end
            if at < 0:
                self._next[place] = low
            elif at < low or at > end:  # above the end: the topic was deleted and made anew
                self._gaps.append(Gap(place[0], place[1], expected=at, found=low))
                self._next[place] = low
        for place, at in self._next.items():
            consumer.seek(TopicPartition(*place), at)
        self._paused = frozenset()

    def _align(self, now: float) -> None:
        """Pause the partitions that ran ahead, resume the others: what was fetched of a paused one is kept."""
        ahead = self._alignment.ahead({place for place, lag in self._fetched_lag().items() if lag > 0}, now)
        consumer = self._started()
        if ahead - self._paused:
            consumer.pause(*(TopicPartition(*place) for place in ahead - self._paused))
        if self._paused - ahead:
            consumer.resume(*(TopicPartition(*place) for place in self._paused - ahead))
        self._paused = ahead

    def _fetched_lag(self) -> dict[Position, int]:
        consumer = self._started()
        return {
            place: max(consumer.highwater(TopicPartition(*place)) or 0, self._ends.get(place, 0)) - at
            for place, at in self._next.items()
        }


def _record(position: Position, message: object) -> Record:
    key = getattr(message, "key", None)
    return Record(
        topic=position[0],
        partition=position[1],
        offset=getattr(message, "offset", 0),
        key=key.decode("utf-8", "replace") if key is not None else None,
        value=getattr(message, "value", None) or b"",
        timestamp=getattr(message, "timestamp", 0) / 1000,
    )
