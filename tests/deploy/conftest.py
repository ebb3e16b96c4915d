"""Fixtures of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.gateway_world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A gateway with default options around a fake server."""
    made = make_world(tmp_path)
    yield made
    made.gateway.close()
