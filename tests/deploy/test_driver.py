"""What a server's answers mean: each failure has its kind and says what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.driver import Driver
from deploy.driver_errors import (
    REASONS,
    ControlRefused,
    DriverError,
    LoadRejected,
    LoraDisabled,
    NotFinite,
    RankTooLarge,
    RouteRefused,
    ServerFailed,
    UnknownModel,
    Unreachable,
)
from deploy.routes import RouteFile
from streams.events import Sampling

VERSION = "support-aaaaaaaaaaaa"


class Scripted(ThreadingHTTPServer):
    """Gives every request the same answer and remembers what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, str] = (200, "{}")
        self.asked: list[tuple[str, str, str | None]] = []
        self.body = b""
        """Of the newest request."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def _any(self) -> None:
        assert isinstance(self.server, Scripted)
        self.server.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path, self.headers.get("x-homeostat-control")))
        status, text = self.server.answer
        data = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    made = Scripted()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def driver(server: Scripted) -> Iterator[Driver]:
    made = Driver(server.url, "token", timeout_s=2.0)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("status", "text", "kind", "says"),
    [
        (404, '{"detail":"Not Found"}', LoraDisabled, "--enable-lora"),
        (500, "LoRA is not enabled. Use --enable-lora to enable LoRA.", LoraDisabled, "--enable-lora"),
        (500, "LoRA rank 64 is greater than max_lora_rank 16.", RankTooLarge, "--max-lora-rank"),
        (404, "Loading lora x failed: No adapter found for /nowhere", LoadRejected, "refused"),
        (400, "something about the lora", LoadRejected, "400"),
        (401, "no", ControlRefused, "control token"),
    ],
)
def test_a_refused_load_says_why(
    server: Scripted, driver: Driver, status: int, text: str, kind: type[DriverError], says: str
) -> None:
    server.answer = (status, text)
    with pytest.raises(kind, match=says) as refused:
        driver.load(VERSION, Path("/artifacts") / VERSION)
    assert type(refused.value) is kind
    assert server.asked == [("POST", "/v1/load_lora_adapter", "token")]


def test_loaded_already_and_gone_already_are_no_errors(server: Scripted, driver: Driver) -> None:
    server.answer = (400, f"The lora adapter '{VERSION}' has already been loaded.")
    driver.load(VERSION, Path("/artifacts"))
    server.answer = (404, f"The lora adapter '{VERSION}' cannot be found.")
    driver.unload(VERSION)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (404, "no such model", UnknownModel),
        (500, "boom", ServerFailed),
        (200, "not json", ServerFailed),
        (200, "[]", ServerFailed),
        (200, '{"choices": []}', ServerFailed),
        (200, '{"choices": [{"token_ids": [1], "logprobs": null}]}', ServerFailed),
        (200, '{"choices": [{"token_ids": null, "logprobs": {"token_logprobs": [1]}}]}', ServerFailed),
    ],
)
def test_a_completion_that_is_none_says_why(
    server: Scripted, driver: Driver, status: int, text: str, kind: type[DriverError]
) -> None:
    server.answer = (status, text)
    with pytest.raises(kind):
        driver.complete(VERSION, [1, 3, 4], 2)


def test_a_completion_is_read(server: Scripted, driver: Driver) -> None:
    choice = {"text": "hi", "token_ids": [7, 2], "logprobs": {"token_logprobs": [-0.5, -1]}}
    server.answer = (200, json.dumps({"choices": [choice]}))
    found = driver.complete(VERSION, [1], 2)
    assert (found.token_ids, found.logprobs, found.text) == ((7, 2), (-0.5, -1.0), "hi")


DRAWN: list[tuple[Sampling | None, dict[str, float]]] = [
    (None, {"temperature": 0, "max_tokens": 8}),
    (Sampling(), {"max_tokens": 8}),
    (Sampling(temperature=0.7, seed=5, max_tokens=64, stops=True), {"temperature": 0.7, "seed": 5, "max_tokens": 8}),
    (Sampling(top_k=40, max_tokens=3), {"top_k": 40, "max_tokens": 3}),
]


@pytest.mark.parametrize(("sampling", "asked"), DRAWN)
def test_a_reply_is_drawn_as_the_sampling_says_and_greedily_without_one(
    server: Scripted, driver: Driver, sampling: Sampling | None, asked: dict[str, float]
) -> None:
    server.answer = (200, json.dumps({"choices": [{"message": {"content": "hi"}}]}))
    messages = [{"role": "user", "content": "hello"}]
    assert driver.chat(VERSION, messages, 8, sampling) == "hi"
    assert json.loads(server.body) == {"model": VERSION, "messages": messages, **asked}


def test_a_gateway_with_a_newer_route_refuses(server: Scripted, driver: Driver) -> None:
    route = RouteFile(epoch=3, actor="t", reason="t", written_at=0.0)
    server.answer = (409, '{"epoch": 4}')
    with pytest.raises(RouteRefused, match="epoch 3"):
        driver.push_route(route)
    server.answer = (404, "{}")
    with pytest.raises(ControlRefused, match="is the gateway loaded"):
        driver.push_route(route)


def test_a_server_that_is_away_is_unreachable_and_not_alive() -> None:
    away = Driver("http://127.0.0.1:9", "token", timeout_s=1.0)
    with pytest.raises(Unreachable, match="is the server up"):
        away.models()
    assert not away.alive() and away.in_flight() == 0


def test_in_flight_is_summed_over_versions(server: Scripted, driver: Driver) -> None:
    server.answer = (200, '{"versions": {"a": {"in_flight": 2}, "b": {"in_flight": 3}}}')
    assert driver.in_flight() == 5


def test_every_kind_of_error_has_a_reason_of_its_own() -> None:
    assert len(REASONS) == len(DriverError.__subclasses__()) + 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null"])
def test_a_reply_whose_log_probabilities_are_no_numbers_is_refused_where_that_is_asked(
    server: Scripted, driver: Driver, value: str
) -> None:
    choice = f'{{"message": {{"content": "ok"}}, "logprobs": {{"content": [{{"logprob": {value}}}]}}}}'
    server.answer = (200, f'{{"choices": [{choice}]}}')
    assert driver.chat(VERSION, [], 8) == "ok"
    with pytest.raises(NotFinite, match=VERSION):
        driver.chat(VERSION, [], 8, must_be_finite=True)
    server.answer = (200, '{"choices": [{"message": {"content": "ok"}, "logprobs": {"content": [{"logprob": -1}]}}]}')
    assert driver.chat(VERSION, [], 8, must_be_finite=True) == "ok"
