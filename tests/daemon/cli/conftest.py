"""A shell in this process, and a home folder whose API is up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from daemon import secrets
from daemon.api.application import build
from daemon.api.server import ApiServer, bind
from daemon.cli.main import main
from daemon.store import Store
from tests.daemon.cli.shell import Result, Served, Shell
from tests.daemon.fakes import FakeController


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs ``homeostat`` in this process."""
    for name in ("HOMEOSTAT_HOME", "HOMEOSTAT_URL", "HOMEOSTAT_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["homeostat", *argv])
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        return Result(int(ended.value.code or 0), seen.out, seen.err)

    return run


@pytest.fixture
def served(tmp_path: Path, store: Store, free_port: Callable[[], int]) -> Generator[Served]:
    """The API of an empty store, with a controller that remembers."""
    port = free_port()
    home = tmp_path / "home"
    home.mkdir()
    (home / "homeostat.yaml").write_text(f"api:\n  port: {port}\n")
    controller = FakeController()
    tokens = secrets.prepare(home / "secrets")
    app = build(deployment="support", store=store, controller=controller, tokens=tokens, allowed_hosts=["127.0.0.1"])
    server = ApiServer(app, bind("127.0.0.1", port))
    server.start()
    yield Served(home, controller)
    server.stop()
