"""The agent over two real replicas: one suite for the local and the HTTP one, rollback under load, restarts."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx
import pytest
import uvicorn

from adapters.base_shape import read_base_shape
from adapters.manifest import Manifest
from adapters.registry import Registry
from deploy.agent import Agent, LocalAgent
from deploy.agent_http import HttpAgent, application
from deploy.driver_errors import AgentRefused, DriverError, FilesRejected, StaleRoute, UnknownVersion
from deploy.routes import Route, RouteFile, Split
from tests.deploy.serving import ALIAS, CHAT, TOKEN, Home, Server, builtin_server, question
from tests.tiny_base import make_base
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
AGENT_TOKEN = "the-agent-token"


@dataclass
class Host:
    """A serving host with two replicas and three registered versions."""

    home: Home
    servers: tuple[Server, Server]
    registry: Registry
    old: Manifest
    new: Manifest
    identity: Manifest
    epoch: int = 0

    def route(self, control: str | None, split: Split | None = None) -> RouteFile:
        """The next route file."""
        self.epoch += 1
        routes = (Route(deployment="support", alias=ALIAS, control=control, split=split),)
        return RouteFile(epoch=self.epoch, actor="t", reason="t", written_at=time.time(), routes=routes)


def _ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    from tests.deploy.versions import register, register_identity

    folder = tmp_path_factory.mktemp("host")
    home = Home(folder, make_base(folder / "base"))
    registry = Registry(home.artifacts)
    old, new = register(registry, home.base, 1), register(registry, home.base, 2)
    identity = register_identity(registry, home.base)
    ports = _ports()
    servers = (builtin_server(home, "one", ports[0]), builtin_server(home, "two", ports[1]))
    for server in servers:
        server.start()
    yield Host(home, servers, registry, old, new, identity)
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def local(host: Host) -> Iterator[LocalAgent]:
    agent = LocalAgent(host.home.agent_config(host.servers), read_base_shape(host.home.base))
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def over_http(local: LocalAgent) -> Iterator[HttpAgent]:
    port, _ = _ports()
    server = uvicorn.Server(uvicorn.Config(application(local, AGENT_TOKEN), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 10.0, "the agent's server")
    agent = HttpAgent(f"http://127.0.0.1:{port}", AGENT_TOKEN)
    yield agent
    agent.close()
    server.should_exit = True
    thread.join(10.0)


@pytest.fixture(params=["local", "http"])
def agent(request: pytest.FixtureRequest) -> Agent:
    """Both agents; what passes for one must pass for the other."""
    return request.getfixturevalue({"local": "local", "http": "over_http"}[request.param])


def test_versions_are_loaded_and_proved_on_each_replica(host: Host, agent: Agent) -> None:
    for name in ("one", "two"):
        for version in (host.old.version, host.identity.version):
            agent.ensure_loaded(version, name)
            agent.ensure_loaded(version, name)
            assert agent.prove(version, name).reason == "proved"
    seen = agent.observe()
    assert [r.name for r in seen.replicas] == ["one", "two"]
    for replica in seen.replicas:
        assert replica.alive and host.old.version in replica.models
        assert replica.proved[host.old.version] and replica.proved[host.identity.version]


def test_unloading_forgets_the_proof(host: Host, agent: Agent) -> None:
    agent.ensure_loaded(host.new.version, "two")
    assert agent.prove(host.new.version, "two").ok
    agent.unload(host.new.version, "two")
    (replica,) = (r for r in agent.observe().replicas if r.name == "two")
    assert host.new.version not in replica.models and host.new.version not in replica.proved


def test_only_registered_names_are_loaded(host: Host, agent: Agent) -> None:
    for name in ("support-ffffffffffff", "../../etc", "support/..", ""):
        with pytest.raises(UnknownVersion):
            agent.ensure_loaded(name, "one")
    with pytest.raises(DriverError, match="one, two"):
        agent.ensure_loaded(host.old.version, "three")


def test_damaged_files_are_not_loaded(host: Host, agent: Agent) -> None:
    source = host.registry.path(host.new.version)
    kept = host.home.folder / "kept"
    shutil.copytree(source, kept)
    weights = source / "adapter_model.safetensors"
    weights.chmod(0o644)
    data = bytearray(weights.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    weights.write_bytes(data)
    try:
        with pytest.raises(FilesRejected):
            agent.ensure_loaded(host.new.version, "one")
        assert host.new.version not in agent.observe().replicas[0].models
    finally:
        shutil.rmtree(source)
        kept.rename(source)


def test_a_route_is_acknowledged_by_every_gateway_and_lies_on_disk(host: Host, agent: Agent) -> None:
    file = host.route(host.old.version)
    ack = agent.write_route(file)
    assert (ack.epoch, dict(ack.gateways)) == (file.epoch, {"one": True, "two": True})
    assert agent.observe().route == file
    for server in host.servers:
        reply = httpx.post(server.url + CHAT, json=question(), headers={"x-homeostat-control": TOKEN}, trust_env=False)
        assert reply.headers["x-homeostat-version"] == host.old.version


def test_leases_are_renewed_and_older_writers_refused(host: Host, agent: Agent) -> None:
    split = Split(rollout="r", candidate=host.old.version, share=0.5, lease_s=5.0, lease_seq=1)
    file = host.route(host.identity.version, split)
    agent.write_route(file)
    renewed = split.model_copy(update={"lease_seq": 2})
    routes = (file.routes[0].model_copy(update={"split": renewed}),)
    later = file.model_copy(update={"routes": routes, "written_at": file.written_at + 1})
    assert all(agent.write_route(later).gateways.values())
    with pytest.raises(StaleRoute):
        agent.write_route(file)
    with pytest.raises(StaleRoute):
        agent.write_route(file.model_copy(update={"epoch": file.epoch - 1}))


def test_a_wrong_token_is_refused(over_http: HttpAgent) -> None:
    url = over_http._url  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(AgentRefused):
        HttpAgent(url, "guess").write_route(RouteFile(epoch=99, actor="x", reason="x", written_at=0.0))
    assert httpx.get(f"{url}/observe", trust_env=False).status_code == 401


@dataclass
class Load:
    """Clients of both replicas, on a thread of their own, until stopped."""

    urls: list[str]
    statuses: list[int] = field(default_factory=list[int])
    failures: list[str] = field(default_factory=list[str])
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60.0)

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session, n) for n in range(8)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            body = question(f"question {number} {turn}", stream=turn % 3 == 0)
            try:
                async with session.post(self.urls[turn % len(self.urls)] + CHAT, json=body) as reply:
                    content = await reply.read()
                    self.statuses.append(reply.status)
                    if reply.status != 200 or (turn % 3 == 0 and b"[DONE]" not in content):
                        self.failures.append(f"{reply.status} {content[:200]!r}")
            except aiohttp.ClientError as error:
                self.failures.append(repr(error))


def _dispatches(host: Host, version: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    for server in host.servers:
        driver = server.driver()
        found.append(driver.gateway()["versions"].get(version, {"last_dispatch": 0.0, "dispatched": 0.0}))
        driver.close()
    return found


def _wait_for(load: Load, more: int) -> None:
    goal = len(load.statuses) + more
    wait_until(lambda: len(load.statuses) >= goal or load.failures, 60.0, f"{more} replies")


def test_nothing_is_dispatched_to_the_old_version_after_the_acknowledgement(host: Host, local: LocalAgent) -> None:
    for name in ("one", "two"):
        for version in (host.old.version, host.identity.version):
            local.ensure_loaded(version, name)
    local.write_route(host.route(host.old.version))
    with Load([s.url for s in host.servers]) as load:
        _wait_for(load, 40)
        ack = local.write_route(host.route(host.identity.version))
        after = time.time()
        _wait_for(load, 40)
    assert not load.failures and all(ack.gateways.values())
    for old, new in zip(_dispatches(host, host.old.version), _dispatches(host, host.identity.version), strict=True):
        assert 0 < old["last_dispatch"] <= after
        assert new["last_dispatch"] > after and new["dispatched"] > 0
        assert old["last_dispatch"] <= ack.at + 1e-3  # the acknowledgement's own second is taken after the last answer


def test_flip_then_unload_at_once_fails_nobody(host: Host, local: LocalAgent) -> None:
    """Streams that run on the unloaded adapter end as they began."""
    local.write_route(host.route(host.old.version))
    with Load([s.url for s in host.servers]) as load:
        _wait_for(load, 30)
        local.write_route(host.route(host.identity.version))
        for name in ("one", "two"):
            local.unload(host.old.version, name)
        _wait_for(load, 30)
    assert not load.failures


def test_a_replica_that_restarts_is_reconciled_before_it_is_ready(host: Host, local: LocalAgent) -> None:
    for name in ("one", "two"):
        local.ensure_loaded(host.old.version, name)
        assert local.prove(host.old.version, name).ok
    local.write_route(host.route(host.old.version))
    first, second = host.servers
    with Load([second.url]) as load:
        _wait_for(load, 10)
        before = {r.name: r.incarnation for r in local.observe().replicas}
        first.kill()
        assert not {r.name: r.alive for r in local.observe().replicas}["one"]
        # One replica is down: the route still changes on the other, within its bound.
        ack = local.write_route(host.route(host.old.version))
        assert dict(ack.gateways) == {"one": False, "two": True}
        first.start()
        seen = {r.name: r for r in local.observe().replicas}["one"]
        assert seen.alive and seen.incarnation != before["one"] and not seen.proved
        assert host.old.version not in seen.models and not _ready(first)
        local.ensure_loaded(host.old.version, "one")
        assert not _ready(first)  # loaded is not proved
        assert local.prove(host.old.version, "one").ok
        assert _ready(first)
        _wait_for(load, 10)
    assert not load.failures


def test_a_restarted_replica_keeps_the_canary_shut_until_its_lease_is_renewed(host: Host, local: LocalAgent) -> None:
    _, second = host.servers
    for version in (host.old.version, host.identity.version):
        local.ensure_loaded(version, "two")
    split = Split(rollout="r2", candidate=host.old.version, share=0.99, lease_s=60.0, lease_seq=1)
    file = host.route(host.identity.version, split)
    local.write_route(file)
    assert _arms(second) == {"canary"}
    second.stop()
    second.start()
    for version in (host.old.version, host.identity.version):
        local.ensure_loaded(version, "two")
    assert _arms(second) == {"control"}
    renewed = split.model_copy(update={"lease_seq": 2})
    local.write_route(file.model_copy(update={"routes": (file.routes[0].model_copy(update={"split": renewed}),)}))
    assert _arms(second) == {"canary"}


def _arms(server: Server) -> set[str]:
    arms: set[str] = set()
    for n in range(8):
        headers = {"x-homeostat-control": TOKEN, "x-session-id": f"arm-{n}"}
        reply = httpx.post(server.url + CHAT, json=question(), headers=headers, trust_env=False, timeout=30.0)
        arms.add(reply.headers["x-homeostat-arm"])
    return arms - ({"control"} if "canary" in arms else set())


def _ready(server: Server) -> bool:
    return httpx.get(f"{server.url}/homeostat/ready", trust_env=False).status_code == 200


def test_the_file_alone_flips_a_gateway_that_no_push_reaches(host: Host, tmp_path: Path) -> None:
    """An agent without replicas writes the file; the gateways find it."""
    config = host.home.agent_config(())
    blind = LocalAgent(config)
    file = host.route(host.identity.version)
    assert not blind.write_route(file).gateways
    blind.close()
    epochs: Callable[[], bool] = lambda: all(  # noqa: E731
        s.driver().gateway()["epoch"] == file.epoch for s in host.servers
    )
    wait_until(epochs, 5.0, "both gateways to find the file")
    assert json.loads((host.home.folder / "route.json").read_text())["epoch"] == file.epoch
