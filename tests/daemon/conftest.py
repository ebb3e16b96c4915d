"""A store, or a whole loop on one, of its own for each test that asks for it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from daemon.store import Store
from tests.daemon.ingest_bench import Bench
from tests.daemon.loop_bench import LoopBench


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    """An empty store; not synced to the disk at each commit, for speed."""
    opened = Store.open(f"sqlite:///{tmp_path}/store.db", synchronous="normal")
    yield opened
    opened.close()


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> LoopBench:
    """A loop whose host, gate and trainer are played."""
    return LoopBench(tmp_path, store)


@pytest.fixture
def ingests(tmp_path: Path, store: Store) -> Generator[Bench]:
    """Ingests on a log file and that store."""
    made = Bench(tmp_path, store)
    yield made
    for ingest in made.made:
        ingest.close()
