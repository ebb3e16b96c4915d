"""The gateway in front of a server that did not load it: what a middleware inside that server would see and do."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from daemon.demo.ports import free_port
from deploy.gateway.app import Gateway
from deploy.gateway.asgi import App, Receive, Scope, Send, read_body
from deploy.gateway.config import load_config
from tests.waiting import wait_until

MAX_BODY = 1 << 20
DROPPED = frozenset((b"host", b"content-length", b"connection"))


def forwarding(url: str) -> App:
    """An application whose every answer is that of the server at ``url``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body = await read_body(receive, MAX_BODY)
        headers = [(name, value) for name, value in scope["headers"] if name not in DROPPED]
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
            reply = await client.request(scope["method"], url + scope["path"], content=body.data, headers=headers)
        kept = [(name, value) for name, value in reply.headers.raw if name.lower() == b"content-type"]
        await send({"type": "http.response.start", "status": reply.status_code, "headers": kept})
        await send({"type": "http.response.body", "body": reply.content})

    return app


@contextmanager
def gateway_before(url: str, gateway_json: Path, port: int | None = None) -> Generator[str]:
    """The URL of a gateway with these options before the server at ``url``."""
    port = port or free_port()
    app = Gateway(forwarding(url), load_config(gateway_json))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, name="gateway-before", daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 20.0, "the gateway to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10.0)
