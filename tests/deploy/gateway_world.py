"""A gateway without a network: hand-moved clock, a server that says who was asked, a log in a list, an ASGI client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from deploy.gateway.app import Gateway
from deploy.gateway.asgi import Message, Receive, Scope, Send, header, read_body
from deploy.gateway.config import CaptureConfig, GatewayConfig, Secrets, ServedDeployment
from deploy.gateway.counters import Counters
from deploy.routes import Route, RouteFile, Split
from streams.codec import Decoded, decode
from streams.events import Exchange, Feedback
from streams.log import Record

TOKEN = "the-control-token"
KEY = b"0" * 64
CHAMPION, CANDIDATE = "support-aaaaaaaaaaaa", "support-bbbbbbbbbbbb"
CHAT = "/v1/chat/completions"


class Clock:
    """Wall and monotonic time that move only when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def wall(self) -> float:
        """Seconds since the epoch: the monotonic second plus a constant."""
        return 1_700_000_000.0 + self.now

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


class ListSink:
    """A log in memory."""

    def __init__(self, accept: bool = True) -> None:
        self.records: list[Record] = []
        self.accept = accept
        self.dropped = 0

    def append(self, topic: str, key: str | None, value: bytes) -> bool:
        """Keep it, or drop it when told to."""
        if not self.accept:
            self.dropped += 1
            return False
        self.records.append(Record(topic, 0, len(self.records), key, value, 2_000_000_000.0))
        return True

    def flush(self, timeout_s: float) -> bool:
        """Nothing waits here."""
        return True

    def close(self) -> None:
        """Nothing to release."""

    def events(self) -> list[Exchange | Feedback]:
        """What was appended, decoded as the daemon would."""
        found = [decode(r) for r in self.records]
        return [d.event for d in found if isinstance(d, Decoded)]

    def exchanges(self) -> list[Exchange]:
        """The exchanges among it."""
        return [e for e in self.events() if isinstance(e, Exchange)]


@dataclass
class Asked:
    """One request as it reached the server."""

    path: str
    body: bytes
    headers: list[tuple[bytes, bytes]]

    @property
    def model(self) -> Any:
        """The model it named."""
        return json.loads(self.body).get("model")


@dataclass
class FakeServer:
    """Answers like an OpenAI server; ``behave`` may fail by model. ``None``: the usual reply."""

    asked: list[Asked] = field(default_factory=list[Asked])
    behave: Callable[[str], int | Exception | None] = lambda model: None
    refuse: Callable[[bytes], bool] = lambda body: False
    """Whether a body is answered with 400, as one that is too long is."""
    before_reply: Callable[[], Any] | None = None
    names: tuple[str, ...] = ("support", "support-base", CHAMPION, CANDIDATE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        body = await read_body(receive, 1 << 26)
        self.asked.append(Asked(scope["path"], body.data, list(scope["headers"])))
        if self.before_reply is not None:
            await self.before_reply()
        if scope["path"] == "/v1/models":
            cards = [{"id": name, "object": "model", "root": "/secret/path"} for name in self.names]
            await _json(send, 200, {"object": "list", "data": cards})
            return
        if scope["path"] not in (CHAT, "/v1/completions"):
            await _json(send, 200, {"path": scope["path"]})
            return
        await self._generate(body.data, send)

    async def _generate(self, body: bytes, send: Send) -> None:
        request = json.loads(body)
        model = str(request.get("model"))
        behaviour = 400 if self.refuse(body) else self.behave(model)
        if isinstance(behaviour, Exception):
            raise behaviour
        if behaviour is not None:
            message = f"The model `{model}` does not exist." if behaviour == 404 else "boom"
            await _json(send, behaviour, {"error": {"message": message, "code": behaviour}})
            return
        if request.get("stream"):
            await _stream(send, model, bool(request.get("return_token_ids")))
            return
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": f'reply of {model} "model":"{model}"'},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
            if request.get("logprobs")
            else None,
        }
        if request.get("return_token_ids"):
            choice["token_ids"] = [7, 8, 2]
        reply: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "choices": [choice],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        }
        if request.get("return_token_ids"):
            reply["prompt_token_ids"] = [1, 2, 3, 4, 5]
        await _json(send, 200, reply)


async def _json(send: Send, status: int, content: object) -> None:
    data = json.dumps(content, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def _stream(send: Send, model: str, ids: bool) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for text, finish in (("Hello", None), (" there", None), ("", "stop")):
        choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        piece: dict[str, Any] = {"model": model, "choices": [choice]}
        if ids:
            choice["token_ids"] = [7]
            piece["prompt_token_ids"] = [81, 82] if text == "Hello" else None
        data = b"data: " + json.dumps(piece, separators=(",", ":")).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


@dataclass
class Reply:
    """What a client got."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    pieces: list[bytes] = field(default_factory=list[bytes])

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        """Parsed."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """One response header."""
        value = header(self.headers, name.encode())
        return value.decode() if value is not None else None


async def ask(
    app: Any,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    client: str = "10.0.0.9",
    leaves: bool = False,
) -> Reply:
    """One request to an ASGI application; ``leaves``: the client goes away when its request is sent."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [*sent, (b"content-length", str(len(data)).encode())],
        "client": (client, 1234),
    }
    reply, given = Reply(), False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": data, "more_body": False}
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert reply.status == 0, "two starts"
            reply.status, reply.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            reply.pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    return reply


def run(coroutine: Any) -> Any:
    """Run to the end on a fresh event loop."""
    return asyncio.run(coroutine)


def chat(text: str = "where is my card", **more: object) -> dict[str, object]:
    """The body of a chat request to the alias."""
    return {"model": "support", "messages": [{"role": "user", "content": text}], **more}


def route(control: str | None = CHAMPION, split: Split | None = None, epoch: int = 1) -> RouteFile:
    """A route file for the deployment of these tests."""
    routes = (Route(deployment="support", alias="support", control=control, split=split),)
    return RouteFile(epoch=epoch, actor="test", reason="test", written_at=0.0, routes=routes)


def split(share: float = 0.5, seq: int = 1, rollout: str = "r1", lease_s: float = 5.0) -> Split:
    """A split between the two versions."""
    return Split(rollout=rollout, candidate=CANDIDATE, share=share, lease_s=lease_s, lease_seq=seq)


@dataclass
class World:
    """A gateway and everything around it."""

    gateway: Gateway
    server: FakeServer
    sink: ListSink
    clock: Clock
    registry: CollectorRegistry
    folder: Path

    def push(self, file: RouteFile) -> Reply:
        """Push a route as the agent does."""
        headers = {"x-homeostat-control": TOKEN}
        return run(ask(self.gateway, "PUT", "/homeostat/route", json.loads(file.model_dump_json()), headers))

    def tell(self, proved: Iterable[str]) -> None:
        """Say what is proved here, as the agent does."""
        headers = {"x-homeostat-control": TOKEN}
        assert run(ask(self.gateway, "PUT", "/homeostat/proved", sorted(proved), headers)).status == 200

    def chat(self, headers: dict[str, str] | None = None, **more: object) -> Reply:
        """One chat request to the alias."""
        return run(ask(self.gateway, "POST", CHAT, chat(**more), headers))  # type: ignore[arg-type]

    def captured(self) -> list[Exchange]:
        """The exchanges on the log, once everything captured is there."""
        assert self.gateway.flush(5.0)
        return self.sink.exchanges()

    def counted(self, name: str, **labels: str) -> float:
        """The value of a series; 0 when it does not exist."""
        return self.registry.get_sample_value(f"homeostat_gateway_{name}", labels) or 0.0


def make_world(folder: Path, capture: CaptureConfig | None = None, **options: Any) -> World:
    """A world without any route, in which the candidate is proved."""
    clock, sink, server, registry = Clock(), ListSink(), FakeServer(), CollectorRegistry()
    config = GatewayConfig(
        deployments=(ServedDeployment(name="support", alias="support", base_name="support-base"),),
        capture=capture or CaptureConfig(),
        **options,
    ).below(folder)
    gateway = Gateway(
        server,
        config,
        secrets=Secrets(feedback_key=KEY, salt=b"salt", control_token=TOKEN),
        sink=sink,
        counters=Counters(registry),
        wall=clock.wall,
        monotonic=clock.monotonic,
    )
    world = World(gateway, server, sink, clock, registry, folder)
    world.tell((CANDIDATE,))
    return world
