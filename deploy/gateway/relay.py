"""The reply on its way to the client: headers added, the version's name hidden, failures held back for a second try.

The start of a response is held until its first body bytes. Until then nothing has reached the client, so a failing
version can still be replaced. Streams then pass piece by piece; whole replies pass when they are complete, because
their length may change. A failure of our own passes the server's message on as it came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from deploy.gateway.asgi import Headers, Message, Send, header, with_length
from deploy.gateway.rewrite import Asked, hider, whole_reply, without_prompt_ids


class Relay:
    """The ``send`` of one attempt. ``version`` None: the reply passes unchanged but for the added headers."""

    def __init__(
        self,
        send: Send,
        *,
        version: str | None,
        alias: str,
        asked: Asked,
        added: Headers,
        keep_bytes: int,
        clock: Callable[[], float],
        hold: Callable[[int, bytes], bool],
        on_fault: Callable[[str], None],
        shows: bool = False,
    ) -> None:
        """``shows``: the server read more than the client sent, so the ids of its prompt are not for him."""
        self._shows = shows
        self._send = send
        self._hider = hider(version, alias) if version else None
        self._alias = alias
        self._asked = asked
        self._added = added
        self._keep = keep_bytes
        self._clock = clock
        self._hold = hold
        self._on_fault = on_fault
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._flowing = False
        self.status = 0
        self.streamed = False
        self.held = False
        """True when the reply was a failure that another version may still repair: nothing of it was sent."""
        self.started = False
        """True once the client may have seen something."""
        self.finished = False
        self.first_byte_at: float | None = None
        """On the injected clock."""
        self.kept: list[bytes] = []
        """What the server said, up to ``keep_bytes``."""

    def __call__(self, message: Message) -> Awaitable[None]:
        """ASGI send. Pieces of a running stream take the short way: no coroutine of ours is made for them."""
        if not self._flowing or message["type"] != "http.response.body":
            return self._other(message)
        data: bytes = message.get("body", b"")
        if self._keep > 0:
            self._keep_some(data)
        if not message.get("more_body", False):
            self.finished = True
        if self._hider is not None:
            shown = self._hider.chunk(data)
            if self._shows:
                shown = without_prompt_ids(shown)
            if shown is not data:
                message = {**message, "body": shown}
        return self._send(message)

    async def _other(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self.streamed = (header(message["headers"], b"content-type") or b"").startswith(b"text/event-stream")
            self._start = message
        elif kind == "http.response.body":
            await self._first(message)
        else:
            await self._send(message)

    async def _first(self, message: Message) -> None:
        """The first piece of a stream, or a piece of a whole reply."""
        data: bytes = message.get("body", b"")
        if data and self.first_byte_at is None:
            self.first_byte_at = self._clock()
        if self.streamed and self._start is not None:
            start, self._start = self._start, None
            await self._begin(start, list(start["headers"]))
            self._flowing = True
            await self(message)
            return
        self._keep_some(data)
        self._parts.append(data)
        if not message.get("more_body", False):
            await self._whole(b"".join(self._parts))

    def _keep_some(self, data: bytes) -> None:
        if data and self._keep > 0:
            self.kept.append(data[: self._keep])
            self._keep -= len(data)

    async def _whole(self, data: bytes) -> None:
        start = self._start
        if start is None:  # the server broke the protocol; let its own server say so
            await self._send({"type": "http.response.body", "body": data})
            return
        if self._hold(self.status, data):
            self.held = True
            return
        shown = self._shown(data)
        headers = list(start["headers"])
        await self._begin(start, headers if shown is data else with_length(headers, len(shown)))
        self.finished = True
        await self._send({"type": "http.response.body", "body": shown})

    def _shown(self, data: bytes) -> bytes:
        if self._hider is None:
            return data
        try:
            if self.status >= 400:
                return self._hider.failure(data)
            return whole_reply(data, self._alias, self._asked) if self._asked else self._hider.chunk(data)
        except (msgspec.MsgspecError, AttributeError, TypeError, ValueError):
            self._on_fault("reply")
            return data

    async def _begin(self, start: Message, headers: Headers) -> None:
        self.started = True
        changed: dict[str, Any] = {**start, "headers": headers + self._added}
        await self._send(changed)
