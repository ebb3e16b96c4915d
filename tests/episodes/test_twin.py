"""The twin is worth as much as it is like the store: the same seeds on both leave the same rows."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from daemon.store import Store
from tests.episodes.episode import Episode
from tests.episodes.on_sqlite import HookedStore, tables_of
from tests.episodes.stage import stage
from tests.episodes.twin_tables import Tables

SEEDS: Final = range(8)
LOSES: Final = 4
"""The seed among them whose log takes records before they are read."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_leaves_the_same_rows_on_the_twin_and_on_sqlite(seed: int, tmp_path: Path) -> None:
    with stage():
        quick = Episode(seed)
        assert quick.play() is None, str(quick.failure)
    opened = Store.open(f"sqlite:///{tmp_path}/store.db", synchronous="normal")
    try:
        with stage(twin=False):
            store = HookedStore(opened)
            real = Episode(seed, store=store, tables=lambda: tables_of(store), looks=False)
            real.play()
            left = tables_of(store)
    finally:
        opened.close()
    assert real.done == quick.done
    twin: Tables = quick.store.tables
    assert bool(twin.gaps) == (seed == LOSES), "one of the seeds loses records"
    for field in fields(Tables):
        if field.name != "said":
            assert getattr(left, field.name) == getattr(twin, field.name), field.name
