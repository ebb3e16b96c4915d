# pyright: standard
"""What the gateway costs: CPU of the serving process per request and per SSE chunk, with and without it.

One uvicorn process serves a fake upstream twice: bare on one port, behind the gateway on the other; requests alternate
in short blocks, so that both see the same machine. The difference in process CPU (all threads, so parsing, redacting,
encoding and appending are in it) divided by the requests is the cost.

Run: ``python -m tests.bench.gateway_cpu [--seconds 20]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from deploy.gateway.app import Gateway
from deploy.gateway.asgi import Receive, Scope, Send, read_body
from deploy.gateway.config import GatewayConfig, Secrets, ServedDeployment
from deploy.gateway.route_table import Adoption
from deploy.routes import Route, RouteFile

CHUNKS = 64
VERSION = "support-aaaaaaaaaaaa"
WORDS = "where is my card and when will the order that I placed last week arrive at the new address please"


class Upstream:
    """Answers at once, whole or in ``CHUNKS`` events. Its ``/health`` tells the CPU seconds of the process."""

    def __init__(self) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": "your card is on its way"}}
        reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": VERSION, "choices": [choice]}
        self._whole = json.dumps(reply | {"usage": {"prompt_tokens": 20, "completion_tokens": 6}}).encode()
        piece = {"id": "c", "model": VERSION, "choices": [{"index": 0, "delta": {"content": " word"}}]}
        self._piece = b"data: " + json.dumps(piece, separators=(",", ":")).encode() + b"\n\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/health":
            used = resource.getrusage(resource.RUSAGE_SELF)
            await self._answer(send, json.dumps(used.ru_utime + used.ru_stime).encode())
            return
        body = await read_body(receive, 1 << 20)
        if b'"stream"' not in body.data:
            await self._answer(send, self._whole)
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": self._piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _answer(self, send: Send, data: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data})


def serve(ports: tuple[int, int], folder: str) -> None:
    """The serving process: the bare upstream on the first port, behind the gateway on the second."""
    upstream = Upstream()
    config = GatewayConfig(deployments=(ServedDeployment(name="support", alias="support", base_name="base"),))
    secrets = Secrets(feedback_key=b"k" * 64, salt=b"salt", control_token="token")
    gateway = Gateway(upstream, config.below(Path(folder)), secrets=secrets)
    route = Route(deployment="support", alias="support", control=VERSION)
    file = RouteFile(epoch=1, actor="bench", reason="bench", written_at=0.0, routes=(route,))
    assert gateway._holder.offer(file, witnessed=True) is Adoption.FIRST  # pyright: ignore[reportPrivateUsage]

    async def both() -> None:
        apps: list[tuple[int, Any]] = [(ports[0], upstream), (ports[1], gateway)]
        configs = [uvicorn.Config(app, port=port, log_level="warning", lifespan="off") for port, app in apps]
        await asyncio.gather(*(uvicorn.Server(c).serve() for c in configs))

    asyncio.run(both())


@dataclass(frozen=True)
class Cost:
    """CPU microseconds a request: bare, behind the gateway, and the median of the paired differences."""

    bare: float
    through: float
    added: float


async def block(session: aiohttp.ClientSession, port: int, requests: int, concurrency: int, body: bytes) -> float:
    """CPU microseconds a request of one block."""
    url = f"http://127.0.0.1:{port}"

    async def cpu() -> float:
        async with session.get(f"{url}/health") as reply:
            return float(await reply.text())

    async def client(number: int) -> None:
        for turn in range(requests // concurrency):
            headers = {**HEADERS, "x-session-id": f"session-{number}-{turn}"}
            async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as reply:
                content = await reply.read()
                assert reply.status == 200, content

    before = await cpu()
    await asyncio.gather(*(client(n) for n in range(concurrency)))
    await asyncio.sleep(0.1)  # the capture thread's share belongs to this block
    return (await cpu() - before) / requests * 1e6


HEADERS = {"content-type": "application/json", "authorization": "Bearer key"}


async def measure(ports: tuple[int, int], seconds: float, concurrency: int, stream: bool) -> Cost:
    """Paired blocks until time is over."""
    fields: dict[str, object] = {"model": "support", "messages": [{"role": "user", "content": WORDS}], "temperature": 0}
    body = json.dumps(fields | ({"stream": True} if stream else {})).encode()
    requests = 64 if stream else 384
    pairs: list[tuple[float, float]] = []
    async with aiohttp.ClientSession() as session:
        for port in ports:
            await block(session, port, requests, concurrency, body)
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(pairs) < 3:
            pairs.append(
                (
                    await block(session, ports[0], requests, concurrency, body),
                    await block(session, ports[1], requests, concurrency, body),
                )
            )
    bare, through = (statistics.median(p[i] for p in pairs) for i in range(2))
    return Cost(bare, through, statistics.median(b - a for a, b in pairs))


async def wait_for(port: int) -> None:
    """Until the port answers."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/health"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def report(ports: tuple[int, int], seconds: float) -> None:
    """Measure and print."""
    for port in ports:
        await wait_for(port)
    print(f"{'':24}{'bare':>9}{'gateway':>9}{'added':>9}  us of CPU a request")
    for concurrency in (1, 8, 32):
        cost = await measure(ports, seconds / 4, concurrency, stream=False)
        print(f"whole reply, c={concurrency:<9}{cost.bare:9.0f}{cost.through:9.0f}{cost.added:9.0f}")
    cost = await measure(ports, seconds / 4, 8, stream=True)
    print(f"{CHUNKS} chunks, c=8{'':9}{cost.bare:9.0f}{cost.through:9.0f}{cost.added:9.0f}", end="")
    print(f"  = {cost.added / CHUNKS:.2f} us a chunk with the request's share in it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--port", type=int, default=18_700 + os.getpid() % 100)
    options = parser.parse_args(arguments)
    ports = (options.port, options.port + 100)
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(ports, folder), daemon=True)
        process.start()
        try:
            asyncio.run(report(ports, options.seconds))
        finally:
            process.terminate()
            process.join(5.0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
