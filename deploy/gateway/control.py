"""What is open to clients and what needs the control token; the gateway's own routes.

A server with run-time LoRA offers routes that load any path, and its own API key does not cover all of them. So the
list is of what is open; everything else is 404 without the token. The comparison is on the raw ASGI path that the
server's router uses too, and default-deny: a path that we misread is refused, not let through.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from pydantic import ValidationError

from deploy.gateway.asgi import App, Headers, Message, Receive, Scope, Send, header
from deploy.gateway.route_table import Held, RouteHolder
from deploy.routes import RouteFile

CONTROL_HEADER = b"x-homeostat-control"
OPEN = frozenset((("GET", "/health"), ("GET", "/ping"), ("GET", "/version"), ("HEAD", "/health")))
LOOPBACK = frozenset(("127.0.0.1", "::1"))


def authorised(headers: Headers, token: str) -> bool:
    """Whether the request carries the control token, in our header or as a bearer token."""
    given = header(headers, CONTROL_HEADER)
    if given is None:
        bearer = header(headers, b"authorization") or b""
        given = bearer[7:] if bearer[:7].lower() == b"bearer " else None
    return given is not None and hmac.compare_digest(given, token.encode())


def is_open(method: str, path: str, client_host: str | None, extra: Sequence[str]) -> bool:
    """Whether a request needs no token. Metrics tell arms apart, so they are open on the machine itself only."""
    if (method, path) in OPEN or path in extra:
        return True
    return path in ("/metrics", "/metrics/") and client_host in LOOPBACK


def push(holder: RouteHolder, body: bytes, wall: float) -> tuple[int, dict[str, object]]:
    """Adopt a pushed route file: status and answer. On 200 every later dispatch goes by it."""
    try:
        file = RouteFile.model_validate_json(body)
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_input=False, include_context=False)
        return 422, {"error": "not a route file", "details": errors}
    adoption = holder.offer(file, witnessed=True)
    held = holder.held
    answer: dict[str, object] = {"adoption": adoption, "at": wall, **summary(held)}
    return (200 if adoption.held else 409), answer


def summary(held: Held | None) -> dict[str, object]:
    """Epoch and the newest renewal of what is in force."""
    if held is None:
        return {"epoch": None, "lease_seq": None}
    sequences = [r.split.lease_seq for r in held.file.routes if r.split is not None]
    return {"epoch": held.file.epoch, "lease_seq": max(sequences, default=None)}


def missing_champions(held: Held | None, proved: frozenset[str]) -> list[str]:
    """Control versions in force that nobody has proved here: while there are any, the replica is not ready."""
    if held is None:
        return []
    return sorted({r.control for r in held.file.routes if r.control is not None} - proved)


async def public_models(app: App, scope: Scope, receive: Receive, send: Send, aliases: Mapping[str, object]) -> None:
    """``GET /v1/models`` without the versions: clients see the aliases alone."""
    start: Message | None = None
    parts: list[bytes] = []

    async def buffer(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        parts.append(message.get("body", b""))
        if message.get("more_body", False) or start is None:
            return
        data = _only(b"".join(parts), aliases)
        kept = [(k, v) for k, v in start["headers"] if k != b"content-length"]
        await send({**start, "headers": [*kept, (b"content-length", b"%d" % len(data))]})
        await send({"type": "http.response.body", "body": data})

    await app(scope, receive, buffer)


def _only(data: bytes, aliases: Mapping[str, object]) -> bytes:
    try:
        listing = cast(dict[str, Any], msgspec.json.decode(data))
        listing["data"] = [card for card in listing["data"] if card.get("id") in aliases]
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
        return b'{"object":"list","data":[]}'
    return msgspec.json.encode(listing)
