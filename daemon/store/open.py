"""Opening the store and its unit of work: one writer at a time, readers beside it.

Invariant: at most one ``Tx`` of a ``Store`` exists at any instant (a lock orders the daemon's threads; SQLite's BEGIN
IMMEDIATE orders processes, should a second daemon slip past the home's lock), so read-then-insert in a ``Tx`` is safe.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
import structlog
from sqlalchemy import create_engine, event, insert
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from daemon.store import tables
from daemon.store.migrations import STEPS, Step, due, take, version_of

log = structlog.get_logger(room="daemon.store")
BUSY_TIMEOUT_MS: Final = 5000
WRITER: Final = "homeostat_writer"
Synchronous = Literal["full", "normal"]


class StoreError(Exception):
    """The store cannot be used as it is."""


class StoreUnavailable(StoreError):
    """The database cannot be opened: missing rights, a full disk, a PostgreSQL that does not answer."""


class StoreVersionError(StoreError):
    """The database was written by a newer homeostat, or by one from which no step leads here; it is as it was."""

    def __init__(self, where: str, found: str, reads: str) -> None:
        super().__init__(
            f"{where}: this store has schema version {found}, this homeostat reads version {reads}: run the homeostat "
            "that wrote it; or, to begin anew, move the file away or give another store.url (the route file, and so "
            "what is served, stays; versions, evidence and ledger of the old store are not carried over)"
        )
        self.where, self.found, self.reads = where, found, reads


@dataclass(frozen=True, slots=True)
class Read:
    """A connection inside a read transaction: one consistent snapshot."""

    conn: Connection


@dataclass(frozen=True, slots=True)
class Tx(Read):
    """The writer's transaction. Everything done with it is committed together or not at all."""


class Store:
    """An open database. Thread-safe: readers have connections of their own, writers take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = threading.Lock()

    @classmethod
    def open(cls, url: str, synchronous: Synchronous = "full") -> Store:
        """Open ``url``, make the tables of an empty database, and bring one of an older version up to ours.

        ``synchronous`` is SQLite's: ``full`` syncs the log at every commit, because an intent must be on the disk
        before its effect is in the world; ``normal`` may lose the newest commits when the power fails (never when the
        process dies).
        Raises StoreUnavailable and StoreVersionError.
        """
        try:
            parsed = make_url(url)
            _refuse_unwritable(parsed)
            engine = _sqlite(parsed, synchronous) if parsed.get_backend_name() == "sqlite" else _other(parsed)
        except (ArgumentError, ImportError) as error:
            raise StoreUnavailable(f"store.url: cannot use {url!r}: {error}") from error
        store = cls(engine)
        try:
            store.prepare()
        except StoreUnavailable as error:
            engine.dispose()
            raise StoreUnavailable(_explain(parsed, error)) from error
        except SQLAlchemyError as error:
            engine.dispose()
            raise StoreUnavailable(f"{parsed.render_as_string()}: not a homeostat store: {error}") from error
        except StoreVersionError:
            engine.dispose()
            raise
        return store

    def prepare(self, steps: Sequence[Step] = STEPS, wanted: str = tables.SCHEMA_VERSION) -> None:
        """Take the steps that are due, and make the tables that are missing. ``open`` does this.

        Raises StoreVersionError, and StoreUnavailable where a step fails: nothing of it is kept, those before it are.
        """
        with self.read() as read:
            found = version_of(read.conn)
        way = due(found, wanted, steps)
        if way is None:
            url = self._engine.url
            named = url.database if url.get_backend_name() == "sqlite" and url.database else url.render_as_string()
            raise StoreVersionError(named, str(found), wanted)
        for step in way:
            try:
                with self.begin() as tx:
                    taken = take(tx.conn, step)
            except (SQLAlchemyError, StoreUnavailable) as error:
                raise StoreUnavailable(f"it stays at version {step.to - 1}: {step.what}: {error}") from error
            if taken:
                log.info("store_upgraded", version=step.to, what=step.what)
        with self.begin() as tx:
            tables.metadata.create_all(tx.conn)
            if version_of(tx.conn) is None:
                tx.conn.execute(insert(tables.meta).values(key="schema_version", value=wanted))

    @contextmanager
    def begin(self) -> Generator[Tx]:
        """The writer's transaction: committed at the end of the block, rolled back by an exception.

        Raises StoreUnavailable where the database does not let us, at the latest at the commit.
        """
        with self._writer, _faults(), self._engine.connect() as conn:
            writing = conn.execution_options(**{WRITER: True})
            with writing.begin():
                yield Tx(writing)

    @contextmanager
    def read(self) -> Generator[Read]:
        """A snapshot; never waits for the writer. Raises StoreUnavailable."""
        with _faults(), self._engine.connect() as conn, conn.begin():
            yield Read(conn)

    def close(self) -> None:
        """Wait for the transaction in progress and release the connections; idempotent."""
        with self._writer:
            self._engine.dispose()


@contextmanager
def _faults() -> Generator[None]:
    """A database that fails while it is used (full disk, locked file, lost server, one that has just become read-only)
    is a fault by our own name.
    """
    try:
        yield
    except (OperationalError, InterfaceError, InternalError) as error:
        raise StoreUnavailable(f"the database says: {error.orig}") from error
    except PoolTimeout as error:
        raise StoreUnavailable(f"no connection to the database is free: {error}") from error


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _sqlite(url: URL, synchronous: Synchronous) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreUnavailable("store.url: a store must outlive the process: give a file, as in sqlite:///store.db")
    engine = create_engine(
        url,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        # The driver's own BEGIN comes too late for a read-then-write transaction, so we say it ourselves.
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous.upper()}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    def on_begin(conn: Connection) -> None:
        writer = conn.get_execution_options().get(WRITER, False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _other(url: URL) -> Engine:
    return create_engine(url, json_serializer=_dumps, json_deserializer=orjson.loads, pool_pre_ping=True)


def _refuse_unwritable(url: URL) -> None:
    """SQLite opens a file that it may not write, and leaves files beside it that it may not write either."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return
    for path in (f"{url.database}{suffix}" for suffix in ("", "-wal", "-shm")):
        if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):
            raise StoreUnavailable(f"{path}: no permission to write: give this user write access to it")


def _explain(url: URL, error: StoreUnavailable) -> str:
    """What is wrong and what to do, in one line."""
    if url.get_backend_name() == "sqlite" and url.database:
        folder = os.path.dirname(os.path.abspath(url.database))
        if not os.path.isdir(folder):
            return f"{url.database}: the folder {folder} does not exist: create it or change `home` or `store.url`"
        if not os.access(folder, os.W_OK):
            return f"{url.database}: no permission to write there: give this user write access to {folder}"
    return f"{url.render_as_string()}: cannot open the store: {error}"
