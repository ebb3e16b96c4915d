"""The little of ASGI that the gateway needs: types, reading a bounded body, replaying it, answering."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Body:
    """What was read of a request body. ``complete`` is False when it outgrew the bound or the client went away."""

    data: bytes
    complete: bool
    disconnected: bool = False


async def read_body(receive: Receive, max_bytes: int) -> Body:
    """Read until the end, or until more than ``max_bytes`` came (what was read is kept for a replay)."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return Body(b"", False, disconnected=True)
    data: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return Body(data, True)
    parts, size = [data], len(data)
    while size <= max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            return Body(b"".join(parts), False, disconnected=True)
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if not message.get("more_body", False):
            return Body(b"".join(parts), True)
    return Body(b"".join(parts), False)


def replay(body: bytes, receive: Receive, complete: bool = True) -> Receive:
    """A receive that first yields ``body``; afterwards the client's own messages (the rest, a disconnect)."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": not complete}

    return replayed


def header(headers: Headers, name: bytes) -> bytes | None:
    """First value of a header; ``name`` in lower case, as ASGI servers deliver them."""
    for key, value in headers:
        if key == name:
            return value
    return None


def with_length(headers: Headers, length: int) -> Headers:
    """The headers with ``content-length`` set to ``length``."""
    kept = [(k, v) for k, v in headers if k != b"content-length"]
    kept.append((b"content-length", b"%d" % length))
    return kept


async def answer(send: Send, status: int, content: object) -> None:
    """Send one JSON response."""
    data = msgspec.json.encode(content)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def error(message: str, kind: str, status: int, param: str | None = None) -> dict[str, object]:
    """An error body in the wire format of the OpenAI API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
