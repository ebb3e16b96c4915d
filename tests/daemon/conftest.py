"""A store of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from daemon.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    """An empty store; not synced to the disk at each commit, for speed."""
    opened = Store.open(f"sqlite:///{tmp_path}/store.db", synchronous="normal")
    yield opened
    opened.close()
