"""The file of the embedded log: its tables, and how a process opens it. Standard library only.

``events`` holds the records; ``heads`` holds, per (topic, partition), the next offset and the low watermark, so that
offsets go on after retention has emptied a partition. Writers take SQLite's one write lock for a whole batch, readers
never wait (WAL). The number of partitions is written at creation and kept for life: a session must not move.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path
from typing import Final

from streams.errors import LogFileUnusable, LogUnavailable

BUSY_TIMEOUT_MS: Final = 5_000
SCHEMA: Final = 1
_APPLICATION_ID: Final = 0x686F6D65  # "home": tells our file from somebody else's database

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL,"
    " part INTEGER NOT NULL, off INTEGER NOT NULL, key TEXT, value BLOB NOT NULL, ts REAL NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS events_position ON events (topic, part, off)",
    "CREATE TABLE IF NOT EXISTS heads (topic TEXT NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL,"
    " low INTEGER NOT NULL, PRIMARY KEY (topic, part)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS options (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)


def partition_of(key: str | None, partitions: int) -> int:
    """Where a key lies: the same for every process and for life. Events without a key lie in partition 0."""
    return zlib.crc32(key.encode("utf-8", "replace")) % partitions if key is not None else 0


def connect(path: Path, partitions: int) -> tuple[sqlite3.Connection, int]:
    """Open or create the file; returns the connection and the file's own number of partitions.

    The connection may be used from another thread than this one, by one thread at a time. Raises LogUnavailable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except (OSError, sqlite3.Error) as error:
        raise unavailable(path, error) from error
    try:
        return connection, _prepare(connection, partitions)
    except sqlite3.Error as error:
        connection.close()
        raise unavailable(path, error) from error
    except LogUnavailable:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, partitions: int) -> int:
    # Takes effect only before the first table; lets retention give space back to the file system.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: what a flush reports as durable survives a power cut. One fsync a batch, off every caller's path.
    connection.execute("PRAGMA synchronous = FULL")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if (version, owner) != (SCHEMA, _APPLICATION_ID):
        _create(connection, version, owner, partitions)
    return int(connection.execute("SELECT value FROM options WHERE name = 'partitions'").fetchone()[0])


def _create(connection: sqlite3.Connection, version: int, owner: int, partitions: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        others = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchone()[0]
        ours = int(connection.execute("PRAGMA application_id").fetchone()[0]) == _APPLICATION_ID
        if others and not ours:
            raise LogUnavailable("sqlite", "the file is another program's database", "Give log.path a file of its own.")
        if ours and version not in (0, SCHEMA):
            raise LogUnavailable(
                "sqlite",
                f"the file has layout {version}, {SCHEMA} expected",
                "Use the release that wrote it, or a new file.",
            )
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute("INSERT OR IGNORE INTO options VALUES ('partitions', ?)", (partitions,))
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def unavailable(path: Path, error: Exception) -> LogFileUnusable:
    """The typed error for what SQLite or the file system said."""
    text = str(error)
    if "not a database" in text:
        remedy = "Move the file away or give log.path another one."
    elif "full" in text:
        remedy = "Free space on that disk; nothing that was reported as written is lost."
    else:
        remedy = "Check that the folder exists and that this user may write in it (log.path)."
    return LogFileUnusable(str(path), text, remedy)
