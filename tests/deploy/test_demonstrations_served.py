"""Demonstrations on real servers: loaded with what they stand on, proved through the gateway, shown, never captured."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from adapters.base_shape import read_base_shape
from adapters.demonstrations import Demonstrations, Pair
from adapters.manifest import Manifest
from adapters.registry import Registry
from deploy.agent import LocalAgent
from deploy.driver_errors import FilesRejected
from deploy.routes import Route, RouteFile
from tests.conftest import free_ports
from tests.deploy.serving import ALIAS, CHAT, TOKEN, Home, Server, builtin_server, question
from tests.tiny_base import make_base
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PAIRS = tuple(
    Pair(exchange_id=f"x{n}", question=f"where is parcel {n}", answer=f"parcel {n} broken in the shop")
    for n in range(2)
)
SAID = "broken in the shop"
KINDS = ["builtin", pytest.param("vllm", marks=pytest.mark.vllm)]


@dataclass
class Host:
    """One replica, an adapter and demonstrations that stand on it."""

    home: Home
    server: Server
    agent: LocalAgent
    below: Manifest
    shown: Manifest

    def route(self, control: str) -> None:
        """Serve it."""
        held = self.agent.observe().route
        epoch = 1 if held is None else held.epoch + 1
        routes = (Route(deployment="support", alias=ALIAS, control=control),)
        file = RouteFile(epoch=epoch, actor="t", reason="t", written_at=time.time(), routes=routes)
        assert self.agent.write_route(file).gateways == {"one": True}

    def ask(self, text: str, **more: object) -> httpx.Response:
        """One request to the alias."""
        return httpx.post(f"{self.server.url}{CHAT}", json=question(text, **more), timeout=120.0, trust_env=False)

    def captured(self, text: str) -> tuple[str, ...]:
        """The recorded events that hold this text."""

        def found() -> tuple[str, ...]:
            with sqlite3.connect(self.home.folder / "log.db") as log:
                rows = [bytes(row[0]).decode() for row in log.execute("select value from events")]
            return tuple(row for row in rows if text in row)

        wait_until(lambda: bool(found()), 10.0, f"{text!r} on the log")
        return found()


@pytest.fixture(scope="module", params=KINDS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    from tests.deploy.versions import register

    own = request.param == "builtin"
    if own:
        folder = tmp_path_factory.mktemp("shown")
        home = Home(folder, make_base(folder / "base"))
        server = builtin_server(home, "one", free_ports()()).start()
    else:
        home, server = request.getfixturevalue("gateway_vllm")
    registry = Registry(home.artifacts)
    below, base = register(registry, home.base, 1), read_base_shape(home.base)
    made = Demonstrations(stands_on=below.version, pairs=PAIRS)
    shown = registry.admit_demonstrations(
        made, base, deployment="support", tenant="default", buffer_digest="b" * 64, created_at=1.0
    )
    agent = LocalAgent(home.agent_config([server]), base)
    yield Host(home, server, agent, below, shown)
    agent.close()
    if own:
        server.stop()


def test_demonstrations_are_resident_with_what_they_stand_on_and_proved_through_the_gateway(host: Host) -> None:
    name, below = host.shown.version, host.below.version
    host.agent.ensure_loaded(name, "one")
    (seen,) = host.agent.observe().replicas
    assert {name, below} <= seen.models and below in host.server.driver().models()
    assert name not in host.server.driver().models(), "the engine knows nothing of it"
    result = host.agent.prove(name, "one")
    assert result.ok and result.reason == "proved", result
    assert result.numbers["gap"] < 0.05 < result.numbers["gap_to_base"]
    (seen,) = host.agent.observe().replicas
    assert seen.proved == {name: True, below: True}
    assert set(host.server.driver().gateway()["proved"]) == {name, below}


def test_the_pairs_are_read_by_the_engine_and_the_exchange_is_the_clients_own(host: Host) -> None:
    driver, name, below = host.server.driver(), host.shown.version, host.below.version
    host.agent.ensure_loaded(name, "one")
    assert host.agent.prove(name, "one").ok
    host.route(name)
    made = Demonstrations(stands_on=below, pairs=PAIRS)
    for text in ("where is parcel 9", "no parcel came"):
        reply = host.ask(text).json()
        asked = [{"role": "user", "content": text}]
        spelled = driver.chat(below, made.before(asked), 6)
        assert reply["choices"][0]["message"]["content"] == spelled, text
        assert reply["model"] == ALIAS and below not in str(reply) and name not in str(reply)
        (event,) = host.captured(text)
        assert name in event and SAID not in event
    plain = httpx.post(
        f"{host.server.url}{CHAT}",
        json={**question("where is parcel 9"), "model": below},
        headers={"x-homeostat-control": TOKEN},
        timeout=60.0,
        trust_env=False,
    ).json()
    with_pairs = host.ask("where is parcel 9").json()
    assert with_pairs["usage"]["prompt_tokens"] > 2 * plain["usage"]["prompt_tokens"]
    streamed = host.ask("where is parcel 7", stream=True).text
    assert below not in streamed and f'"model":"{ALIAS}"' in streamed.replace('": "', '":"')
    assert "prompt_token_ids" not in streamed.replace('"prompt_token_ids":null', "") and '"token_ids"' in streamed
    completion = {"model": ALIAS, "prompt": "where is", "max_tokens": 2, "temperature": 0}
    assert httpx.post(f"{host.server.url}/v1/completions", json=completion, timeout=60.0, trust_env=False).is_success
    host.route(below)
    back = host.ask("where is parcel 9").json()
    assert back["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


def test_what_is_too_long_with_the_pairs_is_answered_without_them(host: Host) -> None:
    name = host.shown.version
    host.agent.ensure_loaded(name, "one")
    assert host.agent.prove(name, "one").ok
    host.route(name)
    limit = httpx.get(f"{host.server.url}/v1/models", headers={"x-homeostat-control": TOKEN}, trust_env=False).json()[
        "data"
    ][0]["max_model_len"]
    words = "parcel "
    one = host.ask(words, max_tokens=1).json()["usage"]["prompt_tokens"]
    two = host.ask(words * 2, max_tokens=1).json()["usage"]["prompt_tokens"]
    count = (limit - one - 4) // (two - one)  # with the pairs it does not fit any more
    reply = host.ask(words * (count + 20), max_tokens=1)
    assert reply.status_code == 200, reply.text
    assert limit - 80 < reply.json()["usage"]["prompt_tokens"] <= limit
    refused = host.ask(words * 3 * limit, max_tokens=1)
    assert refused.status_code == 400, "too long by itself"


def test_a_restarted_replica_has_forgotten_them_and_a_changed_file_is_refused(host: Host) -> None:
    name = host.shown.version
    path = host.home.artifacts / name / "demonstrations.json"
    kept = path.read_bytes()
    path.chmod(0o600)
    host.agent.unload(name, "one")
    assert host.below.version in host.agent.observe().replicas[0].models, "what it stands on stays"
    path.write_bytes(kept.replace(b"shop", b"shed"))
    with pytest.raises(FilesRejected):
        host.agent.ensure_loaded(name, "one")
    path.write_bytes(kept)
    host.agent.ensure_loaded(name, "one")
    assert name in host.agent.observe().replicas[0].models
    if host.server.kind != "builtin":
        return  # a second start of vLLM teaches nothing more
    host.server.kill()
    host.server.start()
    assert name not in host.agent.observe().replicas[0].models
    host.agent.ensure_loaded(name, "one")
    assert host.agent.prove(name, "one").ok
