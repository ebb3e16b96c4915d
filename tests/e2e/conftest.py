"""What the tests of whole processes share: a base, a version of it, a launcher of daemons, stands."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from daemon.store import Store
from tests.e2e.daemons import Launcher
from tests.e2e.stand import Models, Stand

MakeStand = Callable[[int], Stand]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A tiny base and one random adapter with a true fingerprint."""
    from adapters.registry import Registry
    from tests.deploy.versions import register
    from tests.tiny_base import make_base

    folder = tmp_path_factory.mktemp("models")
    base = make_base(folder / "base")
    return Models(base, folder / "artifacts", register(Registry(folder / "artifacts"), base, seed=1))


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    """An empty store, for tests that hold a controller in their own process."""
    opened = Store.open(f"sqlite:///{tmp_path}/store.db", synchronous="normal")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def launcher() -> Generator[Launcher]:
    """Forks daemons."""
    made = Launcher()
    yield made
    made.close()


@pytest.fixture
def make_stand(tmp_path: Path, models: Models, free_port: Callable[[], int]) -> Generator[MakeStand]:
    """Stands with so many running replicas; whatever runs is ended after the test."""
    made: list[Stand] = []

    def one(replicas: int) -> Stand:
        made.append(Stand.make(tmp_path / f"stand-{len(made)}", models, free_port, replicas))
        made[-1].start_servers()
        return made[-1]

    yield one
    for stand in made:
        stand.close()
