"""Opening the store: versions, rights, one writer, snapshots."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text, update

from daemon.store import Store, StoreUnavailable, StoreVersionError, states, tables
from tests.waiting import wait_until


def test_committed_work_is_there_after_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url)
    with store.begin() as tx:
        states.put(tx, "joiner", b"\x00state", at=1.0)
    store.close()
    again = Store.open(url)
    with again.read() as read:
        assert states.get(read, "joiner") == b"\x00state"
        assert read.conn.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert read.conn.execute(text("PRAGMA synchronous")).scalar() == 2
        assert read.conn.execute(text("PRAGMA foreign_keys")).scalar() == 1
    again.close()


def test_an_exception_rolls_everything_back(store: Store) -> None:
    with pytest.raises(RuntimeError), store.begin() as tx:
        states.put(tx, "joiner", b"half", at=1.0)
        raise RuntimeError
    with store.read() as read:
        assert states.get(read, "joiner") is None


def test_another_schema_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url)
    for other in ("1", "99", "3-dev"):
        with store.begin() as tx:
            tx.conn.execute(update(tables.meta).values(value=other))
        store.close()
        said = f"version {other}, this homeostat reads version {tables.SCHEMA_VERSION}: run the homeostat"
        with pytest.raises(StoreVersionError, match=said) as refused:
            Store.open(url)
        fault = refused.value
        assert (fault.where, fault.found, fault.reads) == (f"{tmp_path}/store.db", other, tables.SCHEMA_VERSION)
        assert f"{tmp_path}/store.db" in str(fault) and "move the file away" in str(fault)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////nowhere/at/all/store.db", "the folder /nowhere/at/all does not exist"),
        ("sqlite://", "give a file"),
        ("oracleish://x", "store.url"),
    ],
)
def test_what_cannot_be_opened_says_what_to_do(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message):
        Store.open(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(StoreUnavailable, match="not a homeostat store"):
        Store.open(f"sqlite:///{tmp_path}/store.db")


def test_writers_take_turns_and_readers_do_not_wait(store: Store) -> None:
    order: list[str] = []

    def second() -> None:
        with store.begin() as tx:
            order.append("second")
            states.put(tx, "name", b"second", at=2.0)

    with store.begin() as tx:
        thread = threading.Thread(target=second)
        thread.start()
        states.put(tx, "name", b"first", at=1.0)
        with store.read() as read:
            assert states.get(read, "name") is None
        order.append("first")
    thread.join(5.0)
    assert order == ["first", "second"]
    with store.read() as read:
        assert wait_until(lambda: states.get(read, "name"), 1.0, "the second write") == b"second"


def test_a_read_is_one_snapshot(store: Store) -> None:
    with store.read() as read:
        assert states.get(read, "name") is None
        with store.begin() as tx:
            states.put(tx, "name", b"later", at=1.0)
        assert states.get(read, "name") is None
