"""The reply on its way to the client: headers added, the version's name hidden, failures held back for a second try.

The start of a response is held until its first body bytes. Until then nothing has reached the client, so a failing
version can still be replaced. Streams then pass piece by piece; whole replies pass when they are complete, because
their length may change. A failure of our own passes the server's message on as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from deploy.gateway.asgi import Headers, Message, Send, header, with_length
from deploy.gateway.rewrite import Asked, NameHider, whole_reply


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
    ) -> None:
        self._send = send
        self._hider = NameHider(version, alias) if version else None
        self._alias = alias
        self._asked = asked
        self._added = added
        self._keep = keep_bytes
        self._clock = clock
        self._hold = hold
        self._on_fault = on_fault
        self._start: Message | None = None
        self._parts: list[bytes] = []
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

    async def __call__(self, message: Message) -> None:
        """ASGI send."""
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self.streamed = (header(message["headers"], b"content-type") or b"").startswith(b"text/event-stream")
            self._start = message
        elif kind == "http.response.body":
            await self._body(message)
        else:
            await self._send(message)

    async def _body(self, message: Message) -> None:
        data: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if data:
            if self.first_byte_at is None:
                self.first_byte_at = self._clock()
            if self._keep > 0:
                self.kept.append(data[: self._keep])
                self._keep -= len(data)
        if self.streamed:
            await self._piece(message, data, more)
            return
        self._parts.append(data)
        if not more:
            await self._whole(b"".join(self._parts))

    async def _piece(self, message: Message, data: bytes, more: bool) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._begin(start, list(start["headers"]))
        self.finished = not more
        if self._hider is not None and data:
            message = {**message, "body": self._hider.chunk(data)}
        await self._send(message)

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
