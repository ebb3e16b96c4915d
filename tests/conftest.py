"""What every test may use, and the rule that a test which needs more than it has fails instead of being skipped."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daemon.demo import ports

if TYPE_CHECKING:
    from tests.deploy.serving import Home, Server

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


# marker -> (is what it needs there?, what to do when it is not)
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "trainer": (
        _has_torch,
        "torch is not in this environment: run it with .venvs/trainer/bin/python (make env-trainer)",
    ),
    "kafka": (
        lambda: shutil.which("java") is not None,
        "java is not on PATH: install a Java runtime from 17 on (make services)",
    ),
    "vllm": (
        lambda: (VENVS / "vllm/bin/python").exists(),
        ".venvs/vllm is not there: make env-vllm",
    ),
    "e2e": (
        lambda: all((VENVS / name / "bin/python").exists() for name in ("daemon", "trainer")),
        ".venvs/daemon and .venvs/trainer must both be there: make env-daemon env-trainer",
    ),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (is_there, remedy) in NEEDS.items():
        if item.get_closest_marker(marker) is not None and not is_there():
            pytest.fail(f"marked {marker}, but {remedy}", pytrace=False)


def module_marks(source: str) -> set[str]:
    """The marker names of a module's ``pytestmark`` line(s), read without importing it."""
    statement = re.search(r"^pytestmark\s*=\s*(\[[^\]]*\]|[^\n]*)", source, re.MULTILINE)
    return set(re.findall(r"pytest\.mark\.(\w+)", statement.group(1))) if statement else set()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module that imports torch cannot be collected without it: leave it out where ``-m`` says ``not trainer``."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    deselected = set(re.findall(r"\bnot (\w+)", str(config.getoption("markexpr"))))
    return True if deselected & module_marks(collection_path.read_text(encoding="utf-8")) else None


def free_ports() -> Callable[[], int]:
    """Gives a TCP port of 127.0.0.1 that is free now, another one at each call."""
    given: set[int] = set()

    def one() -> int:
        while (port := ports.free_port()) in given:
            pass
        given.add(port)
        return port

    return one


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A ``free_ports`` of the test's own."""
    return free_ports()


@pytest.fixture
def repo_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def gateway_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Server]]:
    """vLLM with the gateway, once for all folders: nobody may end it, and routes go on above its epoch."""
    from tests import vllm_server

    with vllm_server.gateway_vllm(tmp_path_factory.mktemp("vllm")) as found:
        yield found


@pytest.fixture(scope="session")
def plain_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Server]]:
    """vLLM as a stranger runs it: one name for the base, no gateway, no adapters."""
    from tests import vllm_server

    with vllm_server.plain_vllm(tmp_path_factory.mktemp("plain")) as found:
        yield found
