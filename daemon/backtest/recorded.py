"""A copy of the store to work on: the home folder is read and never written, also while its daemon runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.engine import make_url

from daemon.faults import ConfigError, MachineFault
from daemon.store import Read, Store, Tx, ledger, sessions, tables
from daemon.store.ledger import Entry

_PAGE: Final = 5_000


def copy_store(url: str, into: Path) -> Store:
    """One consistent snapshot of the store at ``url`` as a store of its own in the folder ``into``.

    SQLite's online backup reads it in one transaction, beside a daemon that writes. Where no write-ahead log lies
    beside the file nobody has it open, and it is read as immutable: even a reader would leave a log there.
    Raises ConfigError for a store that is no SQLite file, MachineFault where it cannot be read.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise ConfigError("backtest reads the embedded store: store.url names another database")
    path = Path(parsed.database).absolute()
    if not path.exists():
        raise MachineFault(f"{path} is not there: `homeostat run` makes it; name its folder with --home")
    copied = into / "recorded.db"
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    try:
        source = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=5.0)
        target = sqlite3.connect(copied)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
    except sqlite3.Error as error:
        raise MachineFault(f"{path}: cannot be copied: {error}") from error
    return Store.open(f"sqlite:///{copied}", "normal")


def entries_of(read: Read, deployment: str) -> Iterator[Entry]:
    """The ledger of a deployment, oldest first."""
    last = 0
    while page := ledger.after(read, last, _PAGE, deployment):
        yield from page
        last = page[-1].id


def known_before(read: Read, deployment: str, before_s: float) -> Iterator[list[sessions.Session]]:
    """Pages of the sessions that began before ``before_s``: none of them may become a unit again."""
    T = tables.sessions
    after = ""
    while True:
        where = (T.c.deployment == deployment) & (T.c.first_at < before_s) & (T.c.session > after)
        rows = list(read.conn.execute(select(T).where(where).order_by(T.c.session).limit(_PAGE)))
        if not rows:
            return
        yield [sessions.Session(row.deployment, row.session, row.first_at, row.first_exchange) for row in rows]
        after = rows[-1].session


def remember(recorded: Read, scratch: Tx, deployment: str, before_s: float) -> int:
    """Give the scratch store the sessions that are old by ``before_s``; how many."""
    return sum(len(sessions.insert_new(scratch, page)) for page in known_before(recorded, deployment, before_s))
