"""The embedded log: events in one SQLite file. Reading half, and the names by which the log is known."""

from __future__ import annotations

import heapq
import itertools
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.config import Topics
from streams.log import Gap, Position, Record
from streams.sqlite_file import connect, unavailable
from streams.sqlite_sink import SqliteSink

__all__ = ["SqliteSink", "SqliteSource"]

LOOK_S: Final = 0.02
"""Seconds between two looks for new events: one cheap counter is read, no table."""
TRIM_CHUNK: Final = 1_000
"""Events deleted in one transaction: appenders wait for the lock no longer than that takes."""


class SqliteSource:
    """Reads a SQLite log from the caller's positions, partitions merged in the order of appending.

    One thread uses it; other processes may append meanwhile. ``acknowledge`` keeps nothing: there is no dashboard to
    tell.
    """

    def __init__(self, path: Path, topics: Sequence[str] = Topics().read, partitions: int = 1) -> None:
        """Opens or creates the file, so that it does not matter who starts first. Raises LogUnavailable."""
        self._path = path
        self._topics = tuple(topics)
        self._connection, self._partitions = connect(path, partitions)
        self._next: dict[Position, int] = {}
        self._gaps: list[Gap] = []
        self._closed = threading.Event()
        self._seen_version = -1

    def start(self, next_offsets: Mapping[Position, int]) -> Sequence[Gap]:
        """Go to the caller's positions; an absent one means the first record that is kept. Raises LogUnavailable."""
        self._next = {
            (topic, part): next_offsets.get((topic, part), -1)
            for topic in self._topics
            for part in range(self._partitions)
        }
        self._seen_version = -1
        self._find_gaps()
        return self.take_gaps()

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to ``max_records`` in offset order per partition; waits up to ``timeout_s`` for the first. Raises
        LogUnavailable."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
                if version != self._seen_version:
                    self._find_gaps()
                    records = self._read(max_records)
                    if records:
                        return records
                    # Only an empty read proves that this version holds nothing more for us.
                    self._seen_version = version
            except sqlite3.Error as error:
                raise unavailable(self._path, error) from error
            left = deadline - time.monotonic()
            if left <= 0 or self._closed.wait(min(LOOK_S, left)):
                return []

    def take_gaps(self) -> Sequence[Gap]:
        """Losses found since the last call: records that retention took before they were read, or a replaced file."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def acknowledge(self, next_offsets: Mapping[Position, int]) -> None:
        """Nothing to do: positions live in the caller's store."""

    def lag(self) -> Mapping[Position, int]:
        """Records left to read per partition. Raises LogUnavailable."""
        heads = self._heads()
        return {place: max(0, heads.get(place, (0, 0))[1] - max(0, at)) for place, at in self._next.items()}

    def trim(self, before_ts: float) -> int:
        """Delete records appended before ``before_ts`` (wall seconds), oldest first; returns how many. Raises
        LogUnavailable.

        Deletes in short transactions and gives pages back to the file system. Records that were not read yet go too, as
        with Kafka's retention: the reader finds a gap.
        """
        total = 0
        try:
            for place in self._heads():
                while (count := self._trim_chunk(place, before_ts)) > 0:
                    total += count
            if total:
                self._give_pages_back()
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error
        return total

    def close(self) -> None:
        """Release the file; idempotent."""
        self._closed.set()
        self._connection.close()

    def _heads(self) -> dict[Position, tuple[int, int]]:
        """Low watermark and next offset per partition."""
        try:
            rows = self._connection.execute("SELECT topic, part, low, next FROM heads").fetchall()
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error
        return {(topic, part): (low, following) for topic, part, low, following in rows}

    def _find_gaps(self) -> None:
        heads = self._heads()
        for place, at in self._next.items():
            low, end = heads.get(place, (0, 0))
            if at < 0:
                self._next[place] = low
            elif at < low or at > end:  # above the end: the file was replaced by a younger one
                self._gaps.append(Gap(place[0], place[1], expected=at, found=low))
                self._next[place] = low

    def _read(self, max_records: int) -> list[Record]:
        cursors = [self._rows(place, at, max_records) for place, at in self._next.items()]
        # Merged by append order, so that no topic runs ahead of another. Lazy: what is not taken is not read.
        merged = itertools.islice(heapq.merge(*cursors, key=lambda row: row[0]), max_records)
        records = [Record(topic, part, off, key, value, ts) for _, topic, part, off, key, value, ts in merged]
        for cursor in cursors:  # an open one would hold its snapshot and keep the write-ahead log growing
            cursor.close()
        for record in records:
            self._next[(record.topic, record.partition)] = record.offset + 1
        return records

    def _rows(self, place: Position, at: int, limit: int) -> sqlite3.Cursor:
        return self._connection.execute(
            "SELECT seq, topic, part, off, key, value, ts FROM events WHERE topic = ? AND part = ? AND off >= ?"
            " ORDER BY off LIMIT ?",
            (*place, at, limit),
        )

    def _give_pages_back(self) -> None:
        free = int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])
        for _ in range(0, free, TRIM_CHUNK):
            # The pragma does one page a step; of Python's ways to run a statement only this one takes all the steps.
            self._connection.executescript(f"PRAGMA incremental_vacuum({TRIM_CHUNK})")

    def _trim_chunk(self, place: Position, before_ts: float) -> int:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            low, end = execute("SELECT low, next FROM heads WHERE topic = ? AND part = ?", place).fetchone()
            kept = execute(
                "SELECT off FROM events WHERE topic = ? AND part = ? AND off < ? AND ts >= ? ORDER BY off LIMIT 1",
                (*place, low + TRIM_CHUNK, before_ts),
            ).fetchone()
            new_low = kept[0] if kept else min(end, low + TRIM_CHUNK)
            deleted = execute("DELETE FROM events WHERE topic = ? AND part = ? AND off < ?", (*place, new_low)).rowcount
            execute("UPDATE heads SET low = ? WHERE topic = ? AND part = ?", (new_low, *place))
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise
        return deleted
