"""Model servers that a stranger's client meets: the built-in one and vLLM, each with the gateway and two adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from daemon.demo.ports import free_port
from deploy.driver import Driver
from deploy.routes import Route, RouteFile, Split
from tests.deploy.serving import ALIAS, BASE_NAME, Home, Server, builtin_server
from tests.kafka_broker import Broker
from tests.vllm_server import tiny_home
from tests.waiting import wait_until

CHAMPION, CANDIDATE = "support-aaaaaaaaaaaa", "support-bbbbbbbbbbbb"
KINDS = [pytest.param("builtin", marks=pytest.mark.e2e), pytest.param("vllm", marks=pytest.mark.vllm)]
TOKENS = 8


@dataclass
class Stand:
    """A server with the gateway and two adapters loaded."""

    home: Home
    server: Server
    driver: Driver

    @property
    def url(self) -> str:
        """The base URL of the SDK."""
        return f"{self.server.url}/v1"

    def route(self, control: str | None, split: Split | None = None) -> None:
        """Put a route in force as an agent does that cannot push: by the file alone."""
        epoch = int(self.driver.gateway()["epoch"] or 0) + 1
        routes = (Route(deployment="support", alias=ALIAS, control=control, split=split),)
        file = RouteFile(epoch=epoch, actor="test", reason="test", written_at=0.0, routes=routes)
        draft = self.home.folder / "route.draft"
        draft.write_text(file.model_dump_json(), encoding="utf-8")
        draft.replace(self.home.folder / "route.json")
        wait_until(lambda: self.driver.gateway()["epoch"] == epoch, 5.0, "the route file to be seen")
        self.driver.tell_proved([v for v in (control, None if split is None else split.candidate) if v is not None])

    def says(self, model: str, messages: Any) -> str:
        """The greedy reply of one version."""
        return self.driver.chat(model, messages, TOKENS)

    def switch_off(self, off: bool) -> None:
        """Take the gateway out of the way with its file, or put it back."""
        path = self.home.folder / "gateway.off"
        path.touch() if off else path.unlink(missing_ok=True)
        wait_until(lambda: self.driver.gateway()["off"] is off, 5.0, "the off-switch to be seen")


@pytest.fixture(scope="session")
def gateway_builtin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Server]]:
    """The built-in server with the gateway."""
    home = tiny_home(tmp_path_factory.mktemp("builtin"))
    server = builtin_server(home, "one", free_port()).start()
    yield home, server
    server.stop()


@pytest.fixture(scope="module", params=KINDS)
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """Both servers, one after the other."""
    from tests.tiny_base import make_adapter

    found: tuple[Home, Server] = request.getfixturevalue(f"gateway_{request.param}")
    home, server = found
    driver = Driver(server.url, home.agent_config([server]).control_token_file.read_text().strip(), timeout_s=120.0)
    for seed, version in enumerate((CHAMPION, CANDIDATE), 1):
        folder = home.artifacts / version
        if not folder.exists():
            make_adapter(home.base, folder, seed)
        driver.load(version, folder)
    driver.complete(BASE_NAME, [1, 3, 72, 4], 1)  # the first request with log-probabilities compiles kernels
    yield Stand(home, server, driver)
    driver.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka of our own."""
    one = Broker(tmp_path_factory.mktemp("kafka"))
    one.start()
    yield one
    one.stop()
