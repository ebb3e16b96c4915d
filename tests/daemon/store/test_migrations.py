"""A store of an older schema is brought up, step by step; it then is what a new one would be, and nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection

from daemon.store import (
    Store,
    StoreUnavailable,
    cycles,
    exchanges,
    feedback,
    ledger,
    rollouts,
    shadow_scores,
    states,
    tables,
)
from daemon.store.migrations import STEPS, Step, due, take, version_of
from daemon.store.open import StoreVersionError
from daemon.store.retention import rewards_known_after
from deploy.rollout import RolloutConfig
from deploy.shadow import Score
from monitors import bets
from tests.daemon import events

SCHEMAS = Path(__file__).parent / "schemas"
"""Stores as each older version wrote them, as SQL: its tables with a few rows."""
WRITTEN = sorted(SCHEMAS.glob("*.sql"), key=lambda path: int(path.stem))


def written(folder: Path, version: Path) -> str:
    """A store as that version left it; its URL."""
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        connection.executescript(version.read_text(encoding="utf-8"))
    return f"sqlite:///{folder}/store.db"


def shape(url: str) -> dict[str, Any]:
    """Tables, columns, keys and indexes, as the database tells them."""
    engine = create_engine(url)
    seen = inspect(engine)
    found: dict[str, Any] = {}
    for table in seen.get_table_names():
        columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in seen.get_columns(table)}
        indexes = sorted((repr(i["column_names"]), i["unique"], i["name"]) for i in seen.get_indexes(table))
        keys = sorted(repr((k["constrained_columns"], k["referred_table"])) for k in seen.get_foreign_keys(table))
        found[table] = (columns, seen.get_pk_constraint(table)["constrained_columns"], indexes, keys)
    with engine.connect() as conn:
        partial = conn.execute(text("SELECT sql FROM sqlite_master WHERE sql LIKE '%WHERE%' ORDER BY name"))
        found["partial indexes"] = [" ".join(str(row[0]).split()) for row in partial]
    engine.dispose()
    return found


def version(store: Store) -> str | None:
    with store.read() as read:
        return version_of(read.conn)


def test_every_version_has_its_step_and_every_step_a_store_to_begin_with() -> None:
    assert [step.to for step in STEPS] == list(range(STEPS[0].to, int(tables.SCHEMA_VERSION) + 1))
    assert [int(path.stem) for path in WRITTEN] == [step.to - 1 for step in STEPS]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_an_older_store_becomes_what_a_new_one_is(tmp_path: Path, path: Path) -> None:
    """Tables that changed without a step are found here."""
    url = written(tmp_path, path)
    Store.open(url).close()
    new = f"sqlite:///{tmp_path}/new.db"
    Store.open(new).close()
    assert shape(url) == shape(new)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_what_an_older_version_stored_is_read(tmp_path: Path, path: Path) -> None:
    url = written(tmp_path, path)
    for _ in range(2):
        store = Store.open(url)
        assert version(store) == tables.SCHEMA_VERSION
        with store.read() as read:
            blank = {"messages": (), "completion": "", "completion_token_ids": None}
            taken = events.exchange(1, arm="canary", rollout="r1", propensity=0.1).model_copy(update=blank)
            assert exchanges.get_many(read, ["x1", "x2"]) == {"x1": taken, "x2": events.exchange(2)}
            assert feedback.for_exchanges(read, ["x2"]) == {"x2": [events.feedback(2, "x2", value=False)]}
            assert states.get(read, "watch:core") == b"\x00\x01state"
            active, cycle = rollouts.active(read, "support"), cycles.active(read, "support")
            assert active is not None and RolloutConfig.model_validate(active.data["config"]).alpha == 0.05
            assert cycle is not None and cycle.data == {"rollout": "r1"}
            assert [e.reason for e in ledger.of_subject(read, "r1")] == ["gate_passed"]
            assert shadow_scores.of_rollout(read, "r1") == [
                Score(1, "x1", "i1", False, True),
                Score(1, "x2", "i2", True, False),
            ]
        store.close()


def test_a_rollout_that_users_meet_is_marked_with_the_stakes_of_the_older_version(tmp_path: Path) -> None:
    store = Store.open(written(tmp_path, SCHEMAS / "2.sql"))
    with store.read() as read:
        active = rollouts.active(read, "support")
    store.close()
    assert active is not None and active.phase == "canary_small"
    assert active.data["stakes"] == "0.03:0.1 0.075:0.42 0.15:0.28 0.28:0.16 0.6:0.04"
    assert active.data["stakes"] != bets.PRIOR


def test_where_an_older_version_took_corrections_without_their_rewards_is_known(tmp_path: Path) -> None:
    """``x3`` lost its correction; ``x4`` after it a thumb's empty text, which is no loss."""
    for older, after in (("2.sql", float("-inf")), ("3.sql", 1003.0)):
        (folder := tmp_path / older).mkdir()
        store = Store.open(written(folder, SCHEMAS / older))
        with store.read() as read:
            assert rewards_known_after(read, "support") == after
            assert rewards_known_after(read, "another") == float("-inf")
            assert exchanges.kept_rewards(read, ["x1", "x2", "x3", "x4"]) == {}, "nobody knows them any more"
        store.close()


# ------------------------------------------------------------------------------------------- steps that are made up


def add(table: str) -> Callable[[Connection], None]:
    def made(conn: Connection) -> None:
        conn.execute(text(f"CREATE TABLE {table} (id INTEGER)"))

    return made


def broken(conn: Connection) -> None:
    add("half")(conn)
    conn.execute(text("INSERT INTO nowhere VALUES (1)"))


NOW = int(tables.SCHEMA_VERSION)
FUTURE = (Step(NOW + 1, "one", add("one")), Step(NOW + 2, "two", add("two")), Step(NOW + 3, "three", add("three")))


@pytest.mark.parametrize(
    ("found", "wanted", "way"),
    [
        (None, str(NOW + 3), []),
        (str(NOW + 3), str(NOW + 3), []),
        (str(NOW), str(NOW + 3), [1, 2, 3]),
        (str(NOW + 1), str(NOW + 2), [2]),
        (str(NOW - 1), str(NOW + 3), None),
        (str(NOW + 4), str(NOW + 3), None),
        (str(NOW), str(NOW + 4), None),
        ("", str(NOW + 3), None),
        ("3-dev", str(NOW + 3), None),
    ],
)
def test_the_way_has_no_gap(found: str | None, wanted: str, way: list[int] | None) -> None:
    steps = due(found, wanted, FUTURE)
    assert (None if steps is None else [step.to - NOW for step in steps]) == way


def test_steps_are_taken_in_order_and_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url)
    for _ in range(2):
        store.prepare(FUTURE, str(NOW + 3))
        assert version(store) == str(NOW + 3)
    with store.begin() as tx:
        assert not take(tx.conn, FUTURE[2]), "somebody else took it"
    store.close()
    assert {"one", "two", "three"} <= shape(url).keys()
    with pytest.raises(StoreVersionError, match=f"version {NOW + 3}, this homeostat reads version {NOW}"):
        Store.open(url)


def test_a_step_that_fails_leaves_nothing_of_itself_and_the_next_start_goes_on_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url)
    with pytest.raises(StoreUnavailable, match=f"stays at version {NOW + 1}: two"):
        store.prepare((FUTURE[0], Step(NOW + 2, "two", broken), FUTURE[2]), str(NOW + 3))
    assert version(store) == str(NOW + 1)
    assert "one" in shape(url) and not {"half", "three"} & shape(url).keys()
    store.prepare(FUTURE, str(NOW + 3))
    assert version(store) == str(NOW + 3)
    store.close()
