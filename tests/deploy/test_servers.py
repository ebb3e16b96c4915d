"""One suite for both servers: driver, gateway and effect proof over HTTP, on the built-in server and on vLLM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from openai import OpenAI

from adapters.manifest import Manifest
from adapters.registry import Registry
from adapters.tensor_file import encode, parse
from deploy.driver import Driver
from deploy.driver_errors import (
    ControlRefused,
    DriverError,
    LoadRejected,
    NotFinite,
    RankTooLarge,
    ServerFailed,
    UnknownModel,
    Unreachable,
)
from deploy.gateway.tokens import verify
from deploy.proof import TOLERANCE, ProofResult, prove
from deploy.routes import Route, RouteFile
from streams.codec import Decoded, decode
from streams.events import Exchange, Feedback
from streams.sqlite_log import SqliteSource
from tests.deploy.serving import ALIAS, BASE_NAME, CHAT, MAKERS, TOKEN, Home, Server, question
from tests.tiny_base import make_adapter, make_base
from tests.waiting import wait_until

KINDS = [
    pytest.param("builtin", marks=[pytest.mark.e2e, pytest.mark.slow]),
    pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.slow]),
]
OPERATOR = {"x-homeostat-control": TOKEN}


@dataclass
class Served:
    """A running server with two registered versions loaded."""

    home: Home
    server: Server
    driver: Driver
    registry: Registry
    manifests: tuple[Manifest, Manifest]
    identity: Manifest
    epoch: int = 0

    def route(self, control: str | None) -> None:
        """Put a version in force."""
        self.epoch += 1
        routes = (Route(deployment="support", alias=ALIAS, control=control),)
        file = RouteFile(epoch=self.epoch, actor="t", reason="t", written_at=0.0, routes=routes)
        self.driver.push_route(file)

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
        """One request as a client makes it."""
        return httpx.post(self.server.url + path, json=body, headers=headers, timeout=60.0, trust_env=False)

    def logged(self, count: int) -> list[Exchange | Feedback]:
        """At least ``count`` events from the log."""

        def read() -> list[Exchange | Feedback]:
            source = SqliteSource(self.home.folder / "log.db")
            source.start({})
            found: list[Exchange | Feedback] = []
            while records := source.poll(1000, 0.0):
                found += [d.event for r in records if isinstance(d := decode(r), Decoded)]
            source.close()
            return found if len(found) >= count else []

        return wait_until(read, 20.0, f"{count} events on the log")


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from tests.deploy.versions import register, register_identity

    folder = tmp_path_factory.mktemp(request.param)
    home = Home(folder, make_base(folder / "base"))
    registry = Registry(home.artifacts)
    manifests = (register(registry, home.base, 1), register(registry, home.base, 2))
    identity = register_identity(registry, home.base)
    server = MAKERS[request.param](home, "one", _port()).start()
    driver = server.driver()
    for manifest in (*manifests, identity):
        driver.load(manifest.version, registry.path(manifest.version))
    yield Served(home, server, driver, registry, manifests, identity)
    driver.close()
    server.stop()


def _port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_models_lists_the_base_and_what_is_loaded(served: Served) -> None:
    assert {ALIAS, BASE_NAME, served.manifests[0].version, served.manifests[1].version} <= served.driver.models()


def test_loading_again_is_no_error_and_unloading_forgets(served: Served) -> None:
    name, path = "support-cccccccccccc", served.registry.path(served.manifests[0].version)
    served.driver.load(name, path)
    served.driver.load(name, path)
    assert name in served.driver.models()
    served.driver.unload(name)
    served.driver.unload(name)
    assert name not in served.driver.models()
    with pytest.raises(UnknownModel):
        served.driver.complete(name, [1, 3, 4], 1)


def test_log_probabilities_agree_with_the_trainers(served: Served) -> None:
    gaps: list[float] = []
    for manifest in served.manifests:
        for item in manifest.fingerprint:
            found = served.driver.complete(manifest.version, item.prompt_ids, len(item.expected_ids))
            assert list(found.token_ids) == item.expected_ids
            gaps += [abs(a - b) for a, b in zip(found.logprobs, item.expected_logprobs, strict=True)]
    assert max(gaps) < TOLERANCE / 5, f"largest gap {max(gaps):.5f} nats"


def test_loaded_versions_are_proved(served: Served) -> None:
    for manifest in served.manifests:
        assert prove(served.driver, manifest, BASE_NAME, ()).reason == "proved"


def test_identity_is_proved_by_equality(served: Served) -> None:
    from deploy.agent import PROBES

    assert prove(served.driver, served.identity, BASE_NAME, PROBES).reason == "proved"
    other = served.identity.model_copy(update={"version": served.manifests[0].version})
    assert not prove(served.driver, other, BASE_NAME, PROBES).ok


def _changed(served: Served, folder: Path, change: Callable[[str, Any], Any]) -> Path:
    """A copy of the first version's files with its tensors changed."""
    shutil.copytree(served.registry.path(served.manifests[0].version), folder)
    weights = folder / "adapter_model.safetensors"
    weights.chmod(0o644)
    file = parse(memoryview(weights.read_bytes()))
    weights.write_bytes(encode({name: change(name, file.array(name)) for name in file.slots}, "F32"))
    return folder


def _prove_as(served: Served, name: str, path: Path) -> ProofResult:
    """Load files under a name and prove them as the first version."""
    served.driver.load(name, path)
    try:
        manifest = served.manifests[0].model_copy(update={"version": name})
        return prove(served.driver, manifest, BASE_NAME, ())
    finally:
        served.driver.unload(name)


def test_a_zeroed_adapter_is_not_proved(served: Served, tmp_path: Path) -> None:
    path = _changed(served, tmp_path / "zero", lambda name, t: t * 0)
    assert _prove_as(served, "support-000000000000", path).reason == "no_effect"


def test_a_half_zeroed_adapter_is_not_proved(served: Served, tmp_path: Path) -> None:
    """The second half of the file: here the second layer's tensors."""
    path = _changed(served, tmp_path / "half", lambda name, t: t * 0 if ".layers.1." in name else t)
    result = _prove_as(served, "support-111111111111", path)
    assert result.reason == "effect_differs" and result.numbers["gap"] > TOLERANCE


def test_one_zeroed_layer_kind_is_not_proved(served: Served, tmp_path: Path) -> None:
    path = _changed(served, tmp_path / "part", lambda name, t: t * 0 if "v_proj" in name else t)
    assert not _prove_as(served, "support-222222222222", path).ok


def test_a_swapped_adapter_is_not_proved(served: Served) -> None:
    path = served.registry.path(served.manifests[1].version)
    assert not _prove_as(served, "support-333333333333", path).ok


def test_what_cannot_be_loaded_is_refused_with_a_reason(served: Served, tmp_path: Path) -> None:
    with pytest.raises(LoadRejected):
        served.driver.load("support-555555555555", tmp_path / "nothing")
    large = make_adapter(served.home.base, tmp_path / "large", seed=5, rank=128)
    with pytest.raises(RankTooLarge, match="--max-lora-rank"):
        served.driver.load("support-666666666666", large)


def test_without_the_token_the_driver_is_refused(served: Served) -> None:
    stranger = Driver(served.server.url, "guess")
    with pytest.raises(ControlRefused):
        stranger.gateway()
    assert stranger.models() == {ALIAS}
    with pytest.raises(DriverError):
        stranger.load("support-777777777777", served.registry.path(served.manifests[0].version))
    assert "support-777777777777" not in served.driver.models()


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        Driver("http://127.0.0.1:9", TOKEN, timeout_s=2.0).models()


def test_a_route_changes_what_the_alias_says(served: Served) -> None:
    replies: list[str] = []
    for control in (None, served.manifests[0].version, served.manifests[1].version):
        served.route(control)
        reply = served.post(CHAT, question(), OPERATOR)
        assert reply.headers["x-homeostat-version"] == control or control is None
        assert reply.json()["model"] == ALIAS
        replies.append(reply.json()["choices"][0]["message"]["content"])
    assert len(set(replies)) == 3
    assert replies[1] == served.driver.chat(served.manifests[0].version, cast(Any, question()["messages"]), 6)


def test_the_identity_says_what_the_base_says(served: Served) -> None:
    messages = [{"role": "user", "content": "how can you help"}]
    assert served.driver.chat(served.identity.version, messages, 6) == served.driver.chat(BASE_NAME, messages, 6)


@pytest.mark.parametrize("stream", [False, True])
def test_a_strangers_client_works_as_it_is(served: Served, stream: bool) -> None:
    """The OpenAI SDK, its base URL changed and nothing else."""
    served.route(served.manifests[0].version)
    client = OpenAI(base_url=f"{served.server.url}/v1", api_key="anything")
    messages: Any = [{"role": "user", "content": "where is my parcel"}]
    expected = served.driver.chat(served.manifests[0].version, messages, 6)
    if stream:
        pieces = client.chat.completions.create(
            model=ALIAS, messages=messages, temperature=0, max_tokens=6, stream=True
        )
        found = [(p.model, p.choices[0].delta.content or "") for p in pieces if p.choices]
        assert {model for model, _ in found} == {ALIAS}
        text = "".join(piece for _, piece in found)
    else:
        reply = client.chat.completions.create(model=ALIAS, messages=messages, temperature=0, max_tokens=6)
        assert reply.model == ALIAS
        text = reply.choices[0].message.content or ""
    assert text == expected
    client.close()


def test_completions_take_token_ids_and_give_log_probabilities(served: Served) -> None:
    served.route(served.manifests[0].version)
    item = served.manifests[0].fingerprint[0]
    body = {"model": ALIAS, "prompt": item.prompt_ids, "max_tokens": 3, "temperature": 0, "logprobs": 2}
    choice = served.post("/v1/completions", body).json()["choices"][0]
    assert len(choice["logprobs"]["token_logprobs"]) == len(choice["logprobs"]["tokens"]) == 3
    assert len(choice["logprobs"]["top_logprobs"][0]) >= 2
    assert choice["finish_reason"] == "length"
    assert abs(choice["logprobs"]["token_logprobs"][0] - item.expected_logprobs[0]) < TOLERANCE


def test_stop_texts_end_a_reply(served: Served) -> None:
    served.route(None)
    whole = served.post(CHAT, question(max_tokens=12)).json()["choices"][0]["message"]["content"]
    stop = next(c for c in whole[1:] if c.isascii() and c != whole[0])
    for stream in (False, True):
        reply = served.post(CHAT, question(max_tokens=12, stop=[stop], stream=stream))
        text = _streamed(reply.text) if stream else reply.json()["choices"][0]["message"]["content"]
        assert text == whole[: whole.index(stop)]


def _streamed(text: str) -> str:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    pieces = [json.loads(line) for line in lines]
    return "".join(p["choices"][0]["delta"].get("content") or "" for p in pieces if p["choices"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nobody", "messages": []}, 404),
        ({"model": ALIAS}, 400),
        ({"model": ALIAS, "messages": [{"role": "user", "content": "hi"}], "temperature": -1}, 400),
        ({"model": ALIAS, "messages": [{"role": "user", "content": "card " * 2000}]}, 400),
    ],
)
def test_bad_requests_are_the_clients_fault(served: Served, body: dict[str, Any], status: int) -> None:
    reply = served.post(CHAT, body)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["message"]


def test_exchanges_and_feedback_reach_the_log(served: Served) -> None:
    served.route(served.manifests[0].version)
    headers = {"x-session-id": "log-session", "x-request-id": "mine", "x-user-id": "ann"}
    reply = served.post(CHAT, question("my mail is ann@example.org"), headers)
    exchange_id, token = reply.headers["x-homeostat-exchange"], reply.headers["x-homeostat-token"]
    sent = served.post("/v1/feedback", {"exchange_id": exchange_id, "token": token, "correction": "on its way"})
    assert sent.status_code == 202, sent.text

    def found() -> tuple[Exchange, Feedback] | None:
        events = served.logged(2)
        exchange = [e for e in events if isinstance(e, Exchange) and e.exchange_id == exchange_id]
        feedback = [e for e in events if isinstance(e, Feedback) and e.feedback_id == sent.json()["id"]]
        return (exchange[0], feedback[0]) if exchange and feedback else None

    both = wait_until(found, 10.0, "both events")
    assert both is not None
    exchange, feedback = both
    assert exchange.completion == reply.json()["choices"][0]["message"]["content"]
    assert (exchange.session, exchange.client_request_id, exchange.status) == ("log-session", "mine", 200)
    assert exchange.version == served.manifests[0].version
    assert exchange.completion_token_ids and len(exchange.completion_token_ids) == exchange.completion_tokens
    assert "ann@example.org" not in exchange.prompt
    assert (feedback.session, feedback.identity, feedback.correction) == (
        "log-session",
        exchange.identity,
        "on its way",
    )
    assert verify(b"ab" * 32, token, exchange.received_at).exchange_id == exchange_id


def test_a_request_by_version_name_is_looked_at_for_numbers_and_never_captured(served: Served) -> None:
    """What gate, soak and shadow send: the alias request behind it reaches the log, it does not."""
    served.route(served.manifests[0].version)
    candidate, words = served.manifests[1].version, [{"role": "user", "content": "sent again"}]
    plain = served.driver.chat(candidate, words, 6)
    assert plain == served.driver.chat(candidate, words, 6, must_be_finite=True)
    marker = served.post(CHAT, question("after it")).headers["x-homeostat-exchange"]

    def prompts() -> list[str]:
        events = [e for e in served.logged(1) if isinstance(e, Exchange)]
        return [e.prompt for e in events] if any(e.exchange_id == marker for e in events) else []

    assert "sent again" not in wait_until(prompts, 10.0, "the exchange behind it")


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/invocations", "/pause", "/collective_rpc", "/tokenize"])
def test_control_routes_are_closed_to_strangers(served: Served, path: str) -> None:
    assert served.post(path, {}).status_code == 404


def test_an_adapter_that_overflows_fails_a_look_at_its_numbers(served: Served, tmp_path: Path) -> None:
    """Its files are finite and so it loads; what it computes is not."""
    if served.server.kind == "vllm":
        pytest.skip("on vLLM's CPU build it would spoil the replies of the tests behind it")
    name = "support-888888888888"
    served.driver.load(name, _changed(served, tmp_path / "large", lambda _name, t: t * 1e25))
    try:
        with pytest.raises((NotFinite, ServerFailed)):
            served.driver.chat(name, [{"role": "user", "content": "hello"}], 6, must_be_finite=True)
    finally:
        served.driver.unload(name)


def test_a_nan_adapter_is_never_proved(served: Served, tmp_path: Path) -> None:
    """The built-in server refuses the load; vLLM answers 200, and the proof finds it. Nearly last: on vLLM's CPU build
    what a NaN adapter leaves in the key-value cache spoils other replies, which is why files are checked before a load.
    """
    path = _changed(served, tmp_path / "nan", lambda name, t: t * float("nan"))
    if served.server.kind == "builtin":
        with pytest.raises(LoadRejected, match="NaN"):
            served.driver.load("support-444444444444", path)
        return
    try:
        result = _prove_as(served, "support-444444444444", path)
    except DriverError:
        return
    assert not result.ok


def test_sigterm_drains(served: Served) -> None:
    """Last: it ends the module's server. A stream that runs gets to its end."""
    if served.server.kind != "builtin":
        pytest.skip("how vLLM ends is its own affair")
    served.route(None)
    body = question(max_tokens=40, stream=True, ignore_eos=True)
    with (
        httpx.Client(timeout=60.0, trust_env=False) as client,
        client.stream("POST", served.server.url + CHAT, json=body) as reply,
    ):
        lines = reply.iter_lines()
        next(lines)
        assert served.server.process is not None
        served.server.process.terminate()
        rest = "\n".join(lines)
    assert rest.rstrip().endswith("[DONE]")
    assert served.server.process.wait(5.0) == 0
