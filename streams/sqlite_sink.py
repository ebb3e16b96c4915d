"""Appending to the embedded log: a bounded queue, and one thread that writes batches.

callers --append--> queue (<= queue_max) --every flush_ms--> one transaction --> file

Invariant: everything queued is either in the file, in the queue, or in the batch that the thread is trying to write; an
event leaves the batch only when its transaction is committed. While the file is locked or the disk is full the thread
tries again and the queue fills; then ``append`` drops and counts. The caller never waits for the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.sqlite_file import connect, partition_of

_Item = tuple[str, str | None, bytes]

MAX_BATCH: Final = 500
RETRY_S: Final = 0.1


class SqliteSink:
    """Appends events to a SQLite log. Many processes may append to one file; one sink may be used by many threads."""

    def __init__(
        self,
        path: Path,
        flush_ms: int = 50,
        queue_max: int = 10_000,
        partitions: int = 1,
        max_event_bytes: int = 1_000_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens or creates the file. ``flush_ms``: milliseconds an event waits for company; ``clock``: wall seconds.

        Raises LogUnavailable.
        """
        self._connection, self._partitions = connect(path, partitions)
        self._flush_s = flush_ms / 1000
        self._queue_max = queue_max
        self._max_event_bytes = max_event_bytes
        self._clock = clock
        self._queue: deque[_Item] = deque()
        self._unwritten = 0
        self._dropped = 0
        self._failures = 0
        self._closing = False
        self._hurry = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sqlite-log-writer", daemon=True)
        self._thread.start()

    def append(self, topic: str, key: str | None, value: bytes) -> bool:
        """Queue one event; False when it was dropped: queue full, event too large, or sink closed."""
        if key is not None and not key.isascii():
            key = key.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair would stop the writer
        with self._changed:
            if self._closing or self._unwritten >= self._queue_max or len(value) > self._max_event_bytes:
                self._dropped += 1
                return False
            self._queue.append((topic, key, value))
            self._unwritten += 1
            if self._unwritten == 1 or self._unwritten == MAX_BATCH:
                self._changed.notify_all()
            return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is committed; False when time ran out."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._unwritten == 0, timeout_s)

    @property
    def dropped(self) -> int:
        """Events dropped since the start."""
        return self._dropped

    @property
    def failures(self) -> int:
        """Batches that could not be written at once (locked file, full disk) and were or will be tried again."""
        return self._failures

    @property
    def queued(self) -> int:
        """Events that are not in the file yet."""
        return self._unwritten

    def close(self) -> None:
        """Write what is queued (up to 5 s of tries) and release the file; idempotent. What is left then is counted."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        while batch := self._next_batch():
            give_up_at: float | None = None
            while not self._write(batch):
                with self._changed:
                    if self._closing:
                        give_up_at = give_up_at or time.monotonic() + 5.0
                        if time.monotonic() > give_up_at:
                            self._dropped += self._unwritten
                            self._unwritten = 0
                            self._queue.clear()
                            self._connection.close()
                            return
                    self._changed.wait(RETRY_S)
            with self._changed:
                self._unwritten -= len(batch)
                if self._unwritten == 0:
                    self._hurry = False
                self._changed.notify_all()
        self._connection.close()

    def _next_batch(self) -> list[_Item]:
        """Wait for events, then for company; an empty list when closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or bool(self._queue))
            self._changed.wait_for(lambda: self._closing or self._hurry or len(self._queue) >= MAX_BATCH, self._flush_s)
            return [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]

    def _write(self, batch: list[_Item]) -> bool:
        execute = self._connection.execute
        now = self._clock()
        try:
            execute("BEGIN IMMEDIATE")
            heads: dict[tuple[str, int], int] = {}
            rows: list[tuple[str, int, int, str | None, bytes, float]] = []
            for topic, key, value in batch:
                place = (topic, partition_of(key, self._partitions))
                if place not in heads:
                    found = execute("SELECT next FROM heads WHERE topic = ? AND part = ?", place).fetchone()
                    heads[place] = int(found[0]) if found else 0
                rows.append((*place, heads[place], key, value, now))
                heads[place] += 1
            self._connection.executemany("INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?)", rows)
            self._connection.executemany(
                "INSERT INTO heads VALUES (?, ?, ?, 0) ON CONFLICT (topic, part) DO UPDATE SET next = excluded.next",
                [(*place, following) for place, following in heads.items()],
            )
            execute("COMMIT")
        except sqlite3.Error:
            self._failures += 1
            with contextlib.suppress(sqlite3.Error):  # a full disk may have ended the transaction already
                execute("ROLLBACK")
            return False
        return True
